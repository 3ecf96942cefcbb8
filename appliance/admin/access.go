package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// access is the right that an operation needs.
type access int

// Access levels. Until there is a login, a caller is trusted who sits on the
// box itself or shows its token.
const (
	accessOpen   access = iota // anybody who reaches the port; secrets are masked for strangers
	accessSecret               // reading what holds secrets
	accessWrite                // changing anything
)

// minToken is the shortest token that counts, in octets. A token is guessed
// over the network as fast as the box answers; this many random characters are
// out of reach, a word of a dictionary is not.
const minToken = 16

// caller is what is known of who asks.
type caller struct {
	remote netip.Addr
	header http.Header
	host   string // Host header
	// crossOrigin is what http.CrossOriginProtection says of the request.
	crossOrigin error
}

// crossOrigin refuses requests with an effect that a browser sends on behalf of
// another site's page.
var crossOrigin = http.NewCrossOriginProtection()

func callerOf(r *http.Request) caller {
	c := caller{header: r.Header, host: r.Host, crossOrigin: crossOrigin.Check(r)}
	if a, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.remote = a.Addr().Unmap()
	}
	return c
}

// judge decides whether the caller may do what needs the level, and whether it
// is trusted with secrets.
func judge(c caller, level access, token, name string) (trusted bool, refused *Problem) {
	var distrust *Problem
	if _, presented := c.header["Authorization"]; presented {
		// A wrong token is said to be wrong, even where none is needed: the
		// caller expects to see what it is not going to see.
		if p := checkToken(c.header["Authorization"], token); p != nil {
			return false, p
		}
	} else {
		distrust = local(c, name)
	}
	if level == accessOpen {
		return distrust == nil, nil
	}
	if distrust != nil {
		return false, distrust
	}
	if level == accessWrite && c.crossOrigin != nil {
		return false, causeCrossOrigin.problem("A browser says that this request comes from another site's page.")
	}
	return true, nil
}

// checkToken compares what was presented with the box's token, in a time that
// depends on neither.
func checkToken(presented []string, token string) *Problem {
	if len(token) < minToken {
		return causeLogin.problem("This box has no usable token. Put one of at least 16 characters into the file api-token in its state directory.")
	}
	if len(presented) == 1 {
		scheme, value, _ := strings.Cut(presented[0], " ")
		got, want := sha256.Sum256([]byte(strings.TrimSpace(value))), sha256.Sum256([]byte(token))
		if strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], want[:]) == 1 {
			return nil
		}
	}
	return causeLogin.problem("The token is not this box's: the file api-token in its state directory holds it.")
}

// forwarded are the headers by which a proxy on the box would say that it
// speaks for somebody else.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via"}

// local says why the caller does not count as somebody on the box itself; nil
// when it does. A browser on the box is not its user: a web page can make it
// send requests to loopback addresses (CSRF), under a name that the page's
// owner lets point there (DNS rebinding).
func local(c caller, name string) *Problem {
	if !c.remote.IsLoopback() {
		return causeLogin.problem("Send the box's token (Authorization: Bearer …). The file api-token in its state directory holds it.")
	}
	for _, f := range forwarded {
		if _, ok := c.header[f]; ok {
			return causeLogin.problem("The request came through a proxy (" + f + "): send the box's token (Authorization: Bearer …).")
		}
	}
	if !ownHost(c.host, name) {
		return causeHost.problem("Without a token the box is asked by its address, its own name or as localhost.")
	}
	switch c.header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return nil
	}
	return causeCrossOrigin.problem("A browser says that this request comes from another site's page.")
}

// ownHost says whether a Host header is an address, localhost or the box's own
// name: all that nobody else can let point to the box.
func ownHost(host, name string) bool {
	brackets := strings.HasPrefix(host, "[")
	if h, port, err := net.SplitHostPort(host); err == nil {
		if port == "" {
			return false
		}
		host = h
	} else if brackets && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if _, err := netip.ParseAddr(host); err == nil || brackets {
		return err == nil
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	own := []string{"localhost"}
	if name = strings.ToLower(name); name != "" {
		own = append(own, name, name+".local")
	}
	return slices.Contains(own, host)
}
