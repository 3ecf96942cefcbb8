package admin

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
)

// openAPI describes the API for programs. A test compares it with the routes
// and with the types, both ways.
//
//go:embed openapi.yaml
var openAPI []byte

// openAPITag is the entity tag of the description in this build.
var openAPITag = func() string {
	sum := sha256.Sum256(openAPI)
	return hex.EncodeToString(sum[:8])
}()

func (a *api) getOpenAPI(w http.ResponseWriter, c *call) {
	h := w.Header()
	h.Set("ETag", quoted(openAPITag))
	if unchanged(c.Request, openAPITag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", typeYAML)
	h.Set("Content-Length", strconv.Itoa(len(openAPI)))
	_, _ = w.Write(openAPI)
}

func (a *api) getStatus(w http.ResponseWriter, c *call) { a.statusJSON(w, c.Request) }
func (a *api) getEvents(w http.ResponseWriter, c *call) { a.events(w, c.Request, c.trusted) }

// queryValues reads the parameters; unlike URL.Query it finds fault with
// malformed ones.
func queryValues(r *http.Request) (url.Values, error) { return url.ParseQuery(r.URL.RawQuery) }
