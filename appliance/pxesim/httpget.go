package pxesim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// HTTPFailure is why a fetch failed.
type HTTPFailure int

// The kinds of failure.
const (
	// HTTPNoConnection: no TCP connection, or it broke.
	HTTPNoConnection HTTPFailure = iota + 1
	// HTTPStatus: the server answered with an error.
	HTTPStatus
	// HTTPRedirect: the server redirected a client that does not follow.
	HTTPRedirect
	// HTTPNoLength: neither HEAD nor GET told the length.
	HTTPNoLength
	// HTTPNoType: neither Content-Type nor the path's extension names an image type.
	HTTPNoType
	// HTTPBadURL: the URL cannot be used by this client.
	HTTPBadURL
	// HTTPTooLarge: the content exceeds the caller's bound.
	HTTPTooLarge
)

// HTTPError is a failed fetch.
type HTTPError struct {
	// Failure is the kind.
	Failure HTTPFailure
	// Status is the HTTP status if there was one.
	Status int
	// Detail says what happened.
	Detail string
}

// Error implements error.
func (e *HTTPError) Error() string { return "http: " + e.Detail }

// HTTPClient fetches URLs the way one firmware does.
type HTTPClient struct {
	// Transport carries the requests. It must not follow redirects nor decompress.
	Transport http.RoundTripper
	// UserAgent is the firmware's.
	UserAgent string
	// Firmware selects the rules of HttpBootDxe: HEAD before GET, no redirects, a length, an image
	// type. Without it iPXE's rules apply: GET, redirects followed, Retry-After honoured.
	Firmware bool
	// RefusePlain allows https only.
	RefusePlain bool
	// MaxBytes bounds the content; Keep is how much of it is returned.
	MaxBytes int64
	// Keep is the length of Download.Head.
	Keep int
}

// imageTypes and imageSuffixes are what HttpBootDxe recognises.
var (
	imageTypes    = map[string]bool{"application/efi": true, "application/vnd.efi-iso": true, "application/vnd.efi-img": true}
	imageSuffixes = map[string]bool{".efi": true, ".iso": true, ".img": true}
)

const (
	maxRedirects  = 10
	maxRetryAfter = 5
)

// Get fetches one URL. Errors are *HTTPError or ctx's.
func (c *HTTPClient) Get(ctx context.Context, rawURL string) (Download, error) {
	began := time.Now()
	d, err := c.get(ctx, rawURL)
	d.Took = time.Since(began)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return d, err
}

func (c *HTTPClient) get(ctx context.Context, rawURL string) (Download, error) {
	none := Download{ProbedSize: -1}
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return none, &HTTPError{Failure: HTTPBadURL, Detail: "unusable URL " + strconv.QuoteToASCII(rawURL)}
	}
	if c.RefusePlain && u.Scheme == "http" {
		return none, &HTTPError{Failure: HTTPBadURL, Detail: "this firmware allows https only"}
	}
	headSize := int64(-1)
	if c.Firmware {
		resp, err := c.do(ctx, http.MethodHead, u)
		if err != nil {
			return none, err
		}
		resp.Body.Close()
		if err := firmwareStatus(resp); err != nil {
			return none, err
		}
		headSize = declaredLength(resp)
	}
	resp, err := c.follow(ctx, u)
	if err != nil {
		return none, err
	}
	defer resp.Body.Close()
	if c.Firmware {
		if err := firmwareStatus(resp); err != nil {
			return none, err
		}
		if headSize < 0 && declaredLength(resp) < 0 {
			return none, &HTTPError{Failure: HTTPNoLength, Status: resp.StatusCode, Detail: "no Content-Length on HEAD nor GET"}
		}
	}
	s := newSink(c.MaxBytes, c.Keep)
	_, err = io.Copy(s, resp.Body)
	d := s.download()
	d.ProbedSize, d.ContentType = headSize, clip([]byte(resp.Header.Get("Content-Type")), 100)
	switch {
	case errors.Is(err, errTooLarge):
		return d, &HTTPError{Failure: HTTPTooLarge, Status: resp.StatusCode, Detail: fmt.Sprintf("more than %d bytes", c.MaxBytes)}
	case err != nil:
		return d, &HTTPError{Failure: HTTPNoConnection, Status: resp.StatusCode, Detail: "body: " + err.Error()}
	}
	if c.Firmware {
		// The image type is looked at only now, after a complete download.
		mime, _, _ := strings.Cut(strings.ToLower(resp.Header.Get("Content-Type")), ";")
		if !imageTypes[strings.TrimSpace(mime)] && !imageSuffixes[strings.ToLower(path.Ext(u.Path))] {
			return d, &HTTPError{
				Failure: HTTPNoType, Status: resp.StatusCode,
				Detail: "neither Content-Type nor the extension names an EFI image",
			}
		}
	}
	return d, nil
}

// follow is GET with the redirects and pauses that iPXE honours and firmware does not.
func (c *HTTPClient) follow(ctx context.Context, u *url.URL) (*http.Response, error) {
	redirects, pauses := 0, 0
	for {
		resp, err := c.do(ctx, http.MethodGet, u)
		if err != nil || c.Firmware {
			return resp, err
		}
		switch {
		case resp.StatusCode/100 == 3:
			resp.Body.Close()
			next, err := u.Parse(resp.Header.Get("Location"))
			if redirects++; err != nil || redirects > maxRedirects {
				return nil, &HTTPError{Failure: HTTPRedirect, Status: resp.StatusCode, Detail: "unusable redirect"}
			}
			if next.Scheme != "http" && next.Scheme != "https" {
				return nil, &HTTPError{Failure: HTTPRedirect, Status: resp.StatusCode, Detail: "redirect to scheme " + clip([]byte(next.Scheme), 20)}
			}
			u = next
		case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "":
			resp.Body.Close()
			wait, err := strconv.Atoi(resp.Header.Get("Retry-After"))
			if pauses++; err != nil || wait < 0 || wait > 60 || pauses > maxRetryAfter {
				return nil, &HTTPError{Failure: HTTPStatus, Status: resp.StatusCode, Detail: "server stays unavailable"}
			}
			select {
			case <-time.After(time.Duration(wait) * time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		case resp.StatusCode/100 != 2:
			resp.Body.Close()
			return nil, &HTTPError{Failure: HTTPStatus, Status: resp.StatusCode, Detail: "status " + strconv.Itoa(resp.StatusCode)}
		default:
			return resp, nil
		}
	}
}

func (c *HTTPClient) do(ctx context.Context, method string, u *url.URL) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, &HTTPError{Failure: HTTPBadURL, Detail: err.Error()}
	}
	req.Header.Set("User-Agent", c.UserAgent)
	resp, err := c.Transport.RoundTrip(req)
	if err != nil {
		return nil, &HTTPError{Failure: HTTPNoConnection, Detail: method + ": " + err.Error()}
	}
	return resp, nil
}

func firmwareStatus(resp *http.Response) error {
	switch resp.StatusCode / 100 {
	case 2:
		return nil
	case 3:
		return &HTTPError{
			Failure: HTTPRedirect, Status: resp.StatusCode,
			Detail: fmt.Sprintf("status %d: this firmware follows no redirects", resp.StatusCode),
		}
	}
	return &HTTPError{Failure: HTTPStatus, Status: resp.StatusCode, Detail: "status " + strconv.Itoa(resp.StatusCode)}
}

// declaredLength is the Content-Length header; -1 if there is none.
func declaredLength(resp *http.Response) int64 {
	n, err := strconv.ParseInt(resp.Header.Get("Content-Length"), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// newTransport is an HTTP transport with the bounds of this package. local and dns may be invalid.
// A valid dns resolves names through that server only, as firmware does with option 6.
func newTransport(local, dns netip.Addr) *http.Transport {
	d := &net.Dialer{Timeout: 10 * time.Second}
	if local.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: local.AsSlice()}
	}
	if dns.IsValid() {
		d.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			nd := net.Dialer{Timeout: 5 * time.Second}
			return nd.DialContext(ctx, network, netip.AddrPortFrom(dns, 53).String())
		}}
	}
	return &http.Transport{
		DialContext: d.DialContext, DisableCompression: true, MaxIdleConns: 2,
		ResponseHeaderTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: 10 * time.Second,
	}
}
