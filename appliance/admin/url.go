package admin

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// adminURL is the operator's side under the host name that the browser used
// for this side. A Host header is a stranger's text: what is neither an address
// nor a plain name yields no link.
func adminURL(host string, port int) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err != nil {
		for _, r := range host {
			plain := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.'
			if !plain {
				return ""
			}
		}
		if host == "" {
			return ""
		}
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port)) + "/"
}
