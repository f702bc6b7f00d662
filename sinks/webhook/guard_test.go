package webhook

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// TestGuardDecides asks the function that the dialer asks, with addresses as the dialer writes them. Decimal, octal and
// hexadecimal spellings never get here: the resolver has made addresses of them by then.
func TestGuardDecides(t *testing.T) {
	t.Parallel()
	for address, allowed := range map[string]bool{
		"8.8.8.8:443": true, "1.1.1.1:8443": true, "93.184.216.34:80": true, "172.15.255.255:80": true, "172.32.0.1:80": true,
		"100.63.255.255:80": true, "100.128.0.1:80": true, "192.167.255.255:80": true, "11.0.0.1:25": true, "9.255.255.255:80": true,
		"[2606:4700::1111]:443": true, "[2a00:1450:4001::200e]:8080": true, "[::ffff:8.8.8.8]:80": true,

		"0.0.0.0:80": false, "0.1.2.3:80": false, // this network
		"10.0.0.1:80": false, "10.255.255.255:80": false, "172.16.0.1:80": false, "172.31.255.255:80": false, "192.168.1.1:80": false,
		"100.64.0.1:80": false, "100.127.255.255:80": false, // CGNAT
		"127.0.0.1:80": false, "127.1.2.3:65535": false, "127.255.255.255:1": false, "[::1]:80": false, "[::]:80": false,
		"169.254.169.254:80": false, "169.254.0.1:80": false, "[fd00:ec2::254]:80": false, // link-local, metadata
		"168.63.129.16:80": true, // a public address by registration; a cloud's own service at one provider
		"192.0.0.1:80":     false, "192.0.0.192:80": false, "192.0.2.1:80": false, "198.51.100.1:80": false, "203.0.113.1:80": false,
		"198.18.0.1:80": false, "198.19.255.255:80": false, "192.88.99.1:80": false, // benchmarking, 6to4 relay
		"224.0.0.1:80": false, "239.255.255.255:80": false, "240.0.0.1:80": false, "255.255.255.255:80": false,
		"[fe80::1]:80": false, "[fe80::1%eth0]:80": false, "[fec0::1]:80": false, "[fc00::1]:80": false, "[fd12:3456::1]:80": false,
		"[ff02::1]:80": false, "[ff0e::1]:80": false,
		"[::ffff:127.0.0.1]:80": false, "[::ffff:10.0.0.1]:80": false, "[::ffff:169.254.169.254]:80": false, "[::ffff:7f00:1]:80": false,
		"[::127.0.0.1]:80":   false,                                                           // IPv4-compatible
		"[64:ff9b::a00:1]:1": false, "[64:ff9b::808:808]:1": false, "[64:ff9b:1::1]:1": false, // NAT64
		"[2002:7f00:1::]:80": false, "[2002:a00:1::1]:80": false, // 6to4
		"[2001::1]:80": false, "[2001:db8::1]:80": false, "[3fff::1]:80": false, "[100::1]:80": false, "[5f00::1]:80": false,
		"": false, "localhost:80": false, "example.com:80": false, "127.0.0.1": false,
	} {
		err := newGuard(nil).control("tcp", address, nil)
		if allowed != (err == nil) {
			t.Errorf("%s: %v, want allowed %v", address, err, allowed)
		}
		if err != nil && !errors.Is(err, ErrInternalAddress) {
			t.Errorf("%s: error %v does not wrap ErrInternalAddress", address, err)
		}
	}
}

func TestGuardAllowsListedNetworksOnly(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		listed, ip string
		allowed    bool
	}{
		{"10.1.0.0/16", "10.1.2.3", true},
		{"10.1.0.0/16", "10.2.0.1", false},
		{"10.1.0.0/16", "::ffff:10.1.2.3", true},
		{"10.1.0.0/16", "127.0.0.1", false},
		{"10.1.0.0/16", "8.8.8.8", true},
		{"10.1.2.3/16", "10.1.9.9", true}, // host bits are ignored
		{"::ffff:10.1.0.0/112", "10.1.2.3", true},
		{"fd00:1::/32", "fd00:1::5", true},
		{"fd00:1::/32", "fd00:2::5", false},
		{"fe80::/10", "fe80::1%eth0", true},
		{"127.0.0.0/8", "::1", false},
		{"64:ff9b::/96", "64:ff9b::808:808", true},       // public, behind NAT64
		{"64:ff9b::/96", "64:ff9b::7f00:1", false},       // loopback, behind NAT64
		{"64:ff9b::/96", "64:ff9b::a9fe:a9fe", false},    // metadata, behind NAT64
		{"64:ff9b:1::/48", "64:ff9b:1::808:808", true},   // local-use prefix, listed as such
		{"169.254.169.254/32", "169.254.169.253", false}, // one address means one address
	} {
		g := newGuard([]netip.Prefix{netip.MustParsePrefix(tt.listed)})
		if err := g.check(netip.MustParseAddr(tt.ip)); tt.allowed != (err == nil) {
			t.Errorf("%s with %s listed: %v, want allowed %v", tt.ip, tt.listed, err, tt.allowed)
		}
	}
}

func TestGuardNamesAddressAndRemedy(t *testing.T) {
	t.Parallel()
	err := newGuard(nil).control("tcp4", net.JoinHostPort("169.254.169.254", "80"), nil)
	want := "internal address 169.254.169.254: set allow_private, or list it in allow_networks, if the endpoint is meant to be there"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestLiteralInternalAddressIsRefusedByNew(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"http://127.0.0.1/", "https://[::1]:8443/", "http://10.0.0.1:80", "http://[::ffff:127.0.0.1]/", "http://[fe80::1%25eth0]/",
		"http://169.254.169.254/latest/meta-data/", "http://[64:ff9b::7f00:1]/",
	} {
		_, err := New(Options{URL: url, Secrets: []string{testSecret}})
		if !errors.Is(err, ErrInternalAddress) || !strings.HasPrefix(err.Error(), "url: ") {
			t.Errorf("%s: error %v", url, err)
		}
		if _, err := New(Options{URL: url, Secrets: []string{testSecret}, AllowPrivate: true}); err != nil {
			t.Errorf("%s with allow_private: %v", url, err)
		}
	}
}

func FuzzGuard(f *testing.F) {
	for _, s := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "8.8.8.8", "2606:4700::1111", "fe80::1%lo"} {
		ip := netip.MustParseAddr(s)
		f.Add(ip.AsSlice())
	}
	g := newGuard(nil)
	f.Fuzz(func(t *testing.T, octets []byte) {
		ip, ok := netip.AddrFromSlice(octets)
		if !ok || g.check(ip) != nil {
			return
		}
		ip = ip.Unmap()
		if ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified() {
			t.Errorf("%v is allowed", ip)
		}
	})
}
