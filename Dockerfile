# A static binary in an empty image: certificates of public authorities, time zones, a user that is not root.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG COMMIT=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${COMMIT}" -o /mxhook ./cmd/mxhook \
 && mkdir -p /rootfs/var/lib/mxhook /rootfs/etc/mxhook /rootfs/tmp \
 && cp configs/mxhook.yaml /rootfs/etc/mxhook/mxhook.example.yaml

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/local/go/lib/time/zoneinfo.zip /usr/local/go/lib/time/
ENV ZONEINFO=/usr/local/go/lib/time/zoneinfo.zip
COPY --from=build --chown=65532:65532 /rootfs/ /
COPY --from=build /mxhook /usr/bin/mxhook
USER 65532:65532
VOLUME /var/lib/mxhook
EXPOSE 25 8025
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["/usr/bin/mxhook", "health", "--live", "-c", "/etc/mxhook/mxhook.yaml"]
ENTRYPOINT ["/usr/bin/mxhook"]
CMD ["serve", "-c", "/etc/mxhook/mxhook.yaml"]
