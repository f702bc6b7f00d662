// Gives requests to an Express program with multer (busboy), and webhooks to the libraries of Standard Webhooks and Svix, and prints
// what they make of them; lines as for anymail_judge.py.
import { createHash } from "node:crypto";
import http from "node:http";
import readline from "node:readline";
import express from "express";
import multer from "multer";
import { Webhook } from "standardwebhooks";
import { Webhook as Svix } from "svix";

const app = express();
const sha256 = (b) => createHash("sha256").update(b).digest("hex");
app.post("/form", express.urlencoded({ extended: true, limit: "100mb", parameterLimit: 10000 }),
  multer({ limits: { fieldSize: 100 << 20 } }).any(), (req, res) => {
    const params = { ...req.body };
    for (const name of ["body-mime", "email", "message"]) delete params[name];
    res.json({ params, files: (req.files || []).map((f) => [f.originalname, sha256(f.buffer)]) });
  });
app.post("/signed", express.raw({ type: "*/*", limit: "100mb" }), (req, res) => {
  const why = [Webhook, Svix].map((library) => {
    try {
      new library(req.get("x-secret")).verify(req.body.toString("utf8"), req.headers);
      return "";
    } catch (e) {
      return String(e);
    }
  });
  const refused = why.filter((w) => w !== "").length;
  res.status(refused === 0 ? 200 : refused === why.length ? 401 : 500).json({ why: why.join("; ") });
});
app.use((err, req, res, next) => res.status(500).json({ why: String(err) }));

const server = app.listen(0, "127.0.0.1", async () => {
  const { port } = server.address();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const r = JSON.parse(line);
    const body = Buffer.from(r.body, "base64");
    const path = r.format === "mxhook" ? "/signed" : "/form";
    const headers = { ...r.header, "Content-Length": body.length };
    if (r.key) headers["X-Secret"] = r.key;
    const answer = await new Promise((resolve, reject) => {
      const req = http.request({ host: "127.0.0.1", port, path, method: "POST", headers }, (res) => {
        let text = "";
        res.on("data", (c) => (text += c));
        res.on("end", () => resolve({ status: res.statusCode, ...JSON.parse(text) }));
      });
      req.on("error", reject);
      req.end(body);
    });
    console.log(JSON.stringify({ id: r.id, ...answer }));
  }
  server.close();
  server.closeAllConnections();
});
