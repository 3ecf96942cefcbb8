package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Bounds of uploads.
const (
	// DefaultMaxUpload is the largest archive that is taken, in octets, unless
	// Backend.MaxUpload says otherwise.
	DefaultMaxUpload = 8 << 30
	// stallTime is how long nothing may arrive.
	stallTime = 30 * time.Second
	// uploadTime is how long a whole upload may take: 8 GiB over 10 Mbit/s.
	uploadTime = 2 * time.Hour
)

// archives are the forms of archives by media type.
var archives = map[string]string{
	"application/gzip":             "tar.gz",
	"application/x-gzip":           "tar.gz",
	"application/x-gtar":           "tar",
	"application/x-tar":            "tar",
	"application/x-compressed-tar": "tar.gz",
	"application/zip":              "zip",
}

func archiveTypes() []string { return sortedKeys(archives) }

// arriving is a request's body that must keep arriving. The server's own time
// limit is for requests that fit a packet or two; here every octet gives the
// sender more time, up to an end.
type arriving struct {
	io.ReadCloser
	rc   *http.ResponseController
	now  func() time.Time
	end  time.Time
	fail error // why reading ended early
}

// newBody bounds r's body in size and time.
func newBody(w http.ResponseWriter, r *http.Request, limit int64, now func() time.Time, whole time.Duration) *arriving {
	return &arriving{
		ReadCloser: http.MaxBytesReader(w, r.Body, limit), rc: http.NewResponseController(w),
		now: now, end: now().Add(whole),
	}
}

// errSlow is the error of a body that takes too long as a whole.
var errSlow = fmt.Errorf("upload: %w", context.DeadlineExceeded)

// Read implements io.Reader.
func (b *arriving) Read(p []byte) (int, error) {
	if b.fail != nil {
		return 0, b.fail
	}
	now := b.now()
	if !now.Before(b.end) {
		b.fail = errSlow
		return 0, b.fail
	}
	until := now.Add(stallTime)
	if until.After(b.end) {
		until = b.end
	}
	// A recorder in a test has no deadlines; a connection has.
	_ = b.rc.SetReadDeadline(until)
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.fail = err
	}
	return n, err
}

func (a *api) trees() (Trees, *Problem) {
	if a.Backend.Trees == nil {
		return nil, causeStarting.problem("The box has not found its trees yet; ask again in a moment.")
	}
	return a.Backend.Trees, nil
}

func (a *api) listTrees(w http.ResponseWriter, c *call) {
	trees, p := a.trees()
	if p != nil {
		p.write(w, c.Request)
		return
	}
	limit, after, p := pageOf(c)
	if p != nil {
		p.write(w, c.Request)
		return
	}
	list := slices.DeleteFunc(slices.Clone(trees.List()), func(t Tree) bool { return t.Name <= after })
	slices.SortFunc(list, func(x, y Tree) int { return strings.Compare(x.Name, y.Name) })
	next := ""
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].Name
	}
	writeList(w, c, len(list), next, func(i int) any { return list[i] })
}

// tree finds the tree of the address.
func (a *api) tree(name string) (Tree, *Problem) {
	trees, p := a.trees()
	if p != nil {
		return Tree{}, p
	}
	if goodName(name) {
		if t, ok := trees.Get(name); ok {
			return t, nil
		}
	}
	return Tree{}, causeNotFound.problem(treeSubject(name) + " does not exist.")
}

func treeSubject(name string) string { return "The tree " + strconv.Quote(name) }

func writeTree(w http.ResponseWriter, c *call, code int, t Tree) {
	w.Header().Set("ETag", quoted(t.SHA256))
	if c.method() == http.MethodGet && unchanged(c.Request, t.SHA256) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	writeJSON(w, code, t)
}

func (a *api) getTree(w http.ResponseWriter, c *call) {
	t, p := a.tree(c.PathValue("name"))
	if p != nil {
		p.write(w, c.Request)
		return
	}
	writeTree(w, c, http.StatusOK, t)
}

// putTree unpacks an archive while it arrives.
func (a *api) putTree(w http.ResponseWriter, c *call) {
	t, created, p := a.upload(w, c)
	// The server's time for the answer began with the request.
	_ = http.NewResponseController(w).SetWriteDeadline(a.Now().Add(stallTime))
	if p != nil {
		p.write(w, c.Request)
		return
	}
	code := http.StatusOK
	if created {
		code = http.StatusCreated
		w.Header().Set("Location", prefix+"/trees/"+url.PathEscape(t.Name))
	}
	writeTree(w, c, code, t)
}

func (a *api) upload(w http.ResponseWriter, c *call) (t Tree, created bool, p *Problem) {
	trees, p := a.trees()
	if p != nil {
		return Tree{}, false, p
	}
	name := c.PathValue("name")
	if !goodName(name) {
		return Tree{}, false, badName("name")
	}
	limit := a.Backend.MaxUpload
	if limit <= 0 {
		limit = DefaultMaxUpload
	}
	if c.ContentLength > limit {
		return Tree{}, false, tooLarge(limit)
	}
	want, p := readConditions(c.Request)
	if p != nil {
		return Tree{}, false, p
	}
	// One at a time: unpacking takes all that flash memory can write anyway, and
	// nobody else can come between the look at what is there and its exchange.
	give, p := take(c.Context(), a.uploads)
	if p != nil {
		return Tree{}, false, p
	}
	defer give()
	had, exists := trees.Get(name)
	if _, p = want.writing(treeSubject(name), exists, had.SHA256, true); p != nil {
		return Tree{}, false, p
	}
	ctx, cancel := context.WithTimeout(c.Context(), uploadTime)
	defer cancel()
	from := newBody(w, c.Request, limit, a.Now, uploadTime)
	t, err := trees.Import(ctx, name, from, archives[mediaType(c.Request)])
	// What went wrong with the body counts, whatever the unpacker made of it.
	big := (*http.MaxBytesError)(nil)
	switch {
	case err == nil:
		return t, !exists, nil
	case errors.As(from.fail, &big):
		return Tree{}, false, tooLarge(limit)
	case errors.Is(from.fail, errSlow), ctx.Err() != nil && c.Context().Err() == nil:
		return Tree{}, false, causeTimeout.problem("The upload took longer than " + uploadTime.String() + ".")
	case from.fail != nil:
		return Tree{}, false, unread(from.fail)
	}
	return Tree{}, false, a.explain(treeSubject(name), err)
}

func tooLarge(limit int64) *Problem {
	return causeTooLarge.problem("An archive may have at most " + strconv.FormatInt(limit, 10) + " octets.")
}

// deleteTree deletes a tree that no target uses.
func (a *api) deleteTree(w http.ResponseWriter, c *call) {
	if p := a.removeTree(c); p != nil {
		p.write(w, c.Request)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *api) removeTree(c *call) *Problem {
	trees, p := a.trees()
	if p != nil {
		return p
	}
	reg, p := a.registry()
	if p != nil {
		return p // who uses it cannot be told
	}
	want, p := readConditions(c.Request)
	if p != nil {
		return p
	}
	give, p := take(c.Context(), a.uploads)
	if p != nil {
		return p
	}
	defer give()
	name := c.PathValue("name")
	t, p := a.tree(name)
	if p != nil && !want.match.given {
		return p
	}
	if _, p = want.writing(treeSubject(name), p == nil, t.SHA256, false); p != nil {
		return p
	}
	if by := usersOf(reg, name); len(by) > 0 {
		return a.explain(treeSubject(name), InUse{By: by})
	}
	if err := trees.Delete(name); err != nil {
		return a.explain(treeSubject(name), err)
	}
	return nil
}

// usersOf lists the targets that refer to a tree.
func usersOf(reg Registry, tree string) []string {
	var by []string
	for after := ""; ; {
		docs, next := reg.List(KindTargets, Query{After: after, Limit: maxPer})
		for _, d := range docs {
			if t, ok := d.Value.(boot.Target); ok && t.Tree == tree {
				by = append(by, KindTargets+"/"+d.Name)
			}
		}
		if next == "" || next == after {
			return by
		}
		after = next
	}
}
