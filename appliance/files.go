package appliance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/bootweb"
	"github.com/bootpuck/bootpuck/appliance/ipxe"
	"github.com/bootpuck/bootpuck/appliance/metrics"
	"github.com/bootpuck/bootpuck/appliance/settings"
	"github.com/bootpuck/bootpuck/appliance/tftp"
)

// Bounds of the case-insensitive name indexes, and how old the one of the
// operator's files may be before a miss looks again.
const (
	maxBootNames = 1000
	maxFileNames = 100000
	filesMaxAge  = 5 * time.Second
)

// filesPrefix is where the operator's own files are, treesPrefix where uploaded
// trees are.
const (
	filesPrefix = "files/"
	treesPrefix = "trees/"
)

// fileSet is everything machines can read by name: texts rendered for them, the
// boot programs, the operator's own files. It is what TFTP serves; HTTP serves
// the same.
type fileSet struct {
	boot     *tftp.Tree
	names    map[string]bool                 // of the boot programs
	own      *tftp.Tree                      // the operator's; nil when there are none
	wanted   []string                        // names of loaders and rules that the operator may supply
	supplied atomic.Pointer[map[string]bool] // those of them that are there
	ready    chan struct{}
	ownFS    fs.FS
	trees    fs.FS // uploaded trees by their names
	uploaded *tftp.Tree
	renderer *ipxe.Renderer
	sink     boot.Sink
	base     func(netip.Addr) string
	// config renders the configuration of pxelinux or GRUB; ok is false for a
	// name that is neither's.
	config func(dst []byte, name string, from netip.Addr, base, files string) (text []byte, out bootweb.Script, ok bool)
}

func newFileSet(bootfiles, trees fs.FS, s *settings.Settings, sink boot.Sink, base func(netip.Addr) string) (*fileSet, error) {
	f := &fileSet{
		boot: tftp.NewTree(bootfiles, maxBootNames, 0), names: map[string]bool{}, sink: sink, base: base, ready: make(chan struct{}),
		// Names in a tree are spelled as its programs spell them; an index over
		// trees of many thousand files would cost more than it finds.
		trees: trees, uploaded: tftp.NewTree(trees, 0, 0),
	}
	for _, a := range boot.Archs() {
		if a.Loader != "" {
			f.wanted = append(f.wanted, a.Loader)
		}
	}
	for _, r := range s.Policy.Rules {
		if r.File != "" && !strings.Contains(r.File, "://") {
			f.wanted = append(f.wanted, r.File)
		}
	}
	err := fs.WalkDir(bootfiles, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			f.names[name] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list boot files: %w", err)
	}
	if s.Files != "" {
		root, err := os.OpenRoot(s.Files) // no name and no link leads out of it
		if err != nil {
			return nil, fmt.Errorf("files directory: %w", err)
		}
		f.ownFS = root.FS()
		f.own = tftp.NewTree(f.ownFS, maxFileNames, filesMaxAge)
	}
	f.look()
	config := ipxe.Config{Has: f.has, ChainTitle: "Configured address"}
	if config.Default, err = ipxe.ParseTarget(s.DefaultScript); err != nil {
		return nil, fmt.Errorf("default-script: %w", err)
	}
	if config.Chain, err = ipxe.ParseTarget(s.MenuURL); err != nil {
		return nil, fmt.Errorf("menu-url: %w", err)
	}
	if f.renderer, err = ipxe.New(config); err != nil {
		return nil, err
	}
	return f, nil
}

// has says whether a boot program can be served under this name. The
// operator's files fill gaps: a loader for a CPU that we ship none for.
func (f *fileSet) has(name string) bool {
	if f.names[name] {
		return true
	}
	if strings.Contains(name, "://") {
		return true // somebody else's to serve
	}
	return (*f.supplied.Load())[name]
}

// look finds out which wanted files the operator supplies. Decisions about DHCP
// packets read what was found last: they must never wait for a disk that hangs.
func (f *fileSet) look() {
	found := map[string]bool{}
	for _, name := range f.wanted {
		path := strings.TrimPrefix(name, filesPrefix)
		if f.ownFS == nil || !fs.ValidPath(path) {
			continue
		}
		if info, err := fs.Stat(f.ownFS, path); err == nil && info.Mode().IsRegular() {
			found[name] = true
		}
	}
	f.supplied.Store(&found)
}

// String names the task that keeps looking.
func (f *fileSet) String() string { return "files" }

// Ready is closed when it looks for the first time.
func (f *fileSet) Ready() <-chan struct{} { return f.ready }

// Run looks every few seconds until ctx ends.
func (f *fileSet) Run(ctx context.Context) error {
	select {
	case <-f.ready:
	default:
		close(f.ready)
	}
	tick := time.NewTicker(filesMaxAge)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			f.look()
		}
	}
}

// Open implements tftp.Files. The operator's own files come first: one that has
// a boot program's name replaces it. They are found without the prefix too,
// for firmware that cannot be given one: a Raspberry Pi asks for
// <serial>/start4.elf, pxelinux for its modules.
func (f *fileSet) Open(ctx context.Context, req tftp.Request, name string) (tftp.File, error) {
	rest, prefixed := cutPrefixFold(name, filesPrefix)
	if f.own != nil {
		file, err := f.own.Open(ctx, req, rest)
		// A link that leads out, or any other defect of the operator's tree, is no
		// reason to keep back what the box has itself; HTTP does the same.
		if prefixed || err == nil {
			return file, err
		}
	}
	if prefixed {
		return nil, fmt.Errorf("open %q: no files directory is set: %w", name, fs.ErrNotExist)
	}
	if rest, ok := cutPrefixFold(name, treesPrefix); ok {
		if file, err := f.uploaded.Open(ctx, req, rest); !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
	if file, err, ok := f.openConfig(req, name); ok {
		return file, err
	}
	if lower := strings.ToLower(name); ipxe.Known(lower) {
		return f.render(req, lower)
	}
	return f.boot.Open(ctx, req, name)
}

// openConfig renders the configuration of pxelinux or GRUB for the machine that
// asks; ok is false for any other name.
func (f *fileSet) openConfig(req tftp.Request, name string) (file tftp.File, err error, ok bool) { //nolint:revive // ok says whether the others count
	local := req.Local.Unmap()
	tftpBase := "tftp://" + local.String()
	if local.Is6() {
		tftpBase = "tftp://[" + local.String() + "]"
	}
	text, out, ok := f.config(nil, name, req.Client.Addr(), f.base(local), tftpBase)
	if !ok {
		return nil, nil, false
	}
	if len(text) == 0 {
		return nil, fmt.Errorf("open %q: %w", name, fs.ErrNotExist), true
	}
	f.sink(boot.Event{
		Kind: boot.KindScript, Reason: out.Reason, MAC: out.MAC, GUID: out.GUID, Addr: req.Client.Addr(), Interface: req.Link,
		File: name, Bytes: int64(len(text)), Text: out.Text, Action: out.Action, Profile: out.Profile, Elsewhere: out.Elsewhere,
	})
	return bytes.NewReader(text), nil, true
}

// hasConfig says whether a folder holds pxelinux's configuration for everybody.
func (f *fileSet) hasConfig(folder string) bool {
	name := path.Join(folder, "pxelinux.cfg", "default")
	fsys := f.ownFS
	if rest, ok := strings.CutPrefix(name, treesPrefix); ok {
		name, fsys = rest, f.trees
	} else {
		name = strings.TrimPrefix(name, filesPrefix)
	}
	if fsys == nil || !fs.ValidPath(name) {
		return false
	}
	info, err := fs.Stat(fsys, name)
	return err == nil && info.Mode().IsRegular()
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// render makes a text for the address that the client reached us on.
func (f *fileSet) render(req tftp.Request, name string) (tftp.File, error) {
	text, ok := f.renderer.Text(nil, name, ipxe.Request{Base: f.base(req.Local)})
	if !ok {
		f.sink(boot.Event{Kind: boot.KindScript, Reason: boot.ReasonRender, Addr: req.Client.Addr(), Interface: req.Link, File: name})
		return nil, errors.New("the script could not be rendered")
	}
	f.sink(boot.Event{Kind: boot.KindScript, Addr: req.Client.Addr(), Interface: req.Link, File: name, Bytes: int64(len(text))})
	return bytes.NewReader(text), nil
}

// stage says which step of the boot funnel an event is, if it is one.
func (f *fileSet) stage(e boot.Event) (metrics.Stage, bool) {
	switch {
	case e.Reason != boot.ReasonNone:
		return "", false
	case e.Kind == boot.KindOffer:
		return metrics.StageOffer, true
	case e.Kind == boot.KindAck:
		return metrics.StageAcked, true
	}
	// As it was asked for: firmware spells names in its own way.
	clean, reason := tftp.Clean([]byte(e.File))
	if reason != boot.ReasonNone {
		return "", false
	}
	name := strings.ToLower(clean)
	switch e.Kind {
	case boot.KindScript:
		// What leads to the script (autoexec.ipxe, /b) is not the script.
		if name == ipxe.NameMachine || strings.HasPrefix(name, "grub/") || path.Base(path.Dir(name)) == "pxelinux.cfg" {
			return metrics.StageScript, true
		}
	case boot.KindTFTP, boot.KindHTTP:
		switch {
		case strings.HasPrefix(name, filesPrefix), strings.HasPrefix(name, treesPrefix):
			return metrics.StageFile, true
		case !f.names[name] || path.Ext(name) == ".c32" || strings.HasPrefix(name, "memtest/") || strings.HasPrefix(name, "licenses/"):
		case e.Kind == boot.KindTFTP:
			return metrics.StageLoaderTFTP, true
		default:
			return metrics.StageLoaderHTTP, true
		}
	default:
	}
	return "", false
}
