package media

import (
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of names and links.
const (
	maxComponent = 255      // octets between two slashes, as file systems have it
	maxPath      = 1024     // octets of a whole name, and of what a link says
	maxDepth     = 64       // folders within folders
	maxNames     = 16 << 20 // octets of all names: they are held in memory
	maxHops      = 8        // links that lead to links; os.Root follows no more
	maxSteps     = 500_000  // of finding out where all links lead
)

// kind is what an entry is. There is nothing else.
type kind uint8

const (
	isDir kind = iota
	isFile
	isLink     // symbolic
	isHardLink // another name of a file before it
)

// header is an entry as its archive describes it.
type header struct {
	name   string // as it is written there
	kind   kind
	size   int64  // octets of a file
	target string // of a link
}

// node is what a plan knows of a name.
type node struct {
	kind   kind
	target string // of links: as written; of hard links: clean
	raw    string // the entry's name for messages; empty for folders that are only implied
}

// plan is what an archive would make, found out without making it. It is a
// function of the headers alone.
type plan struct {
	limits  Limits
	nodes   map[string]*node
	files   int
	links   []string // clean names of symbolic links, in order
	hard    []string // clean names of hard links, in order
	bytes   int64    // of all files
	blocks  int64    // octets they take on a disk, in blocks of 4 KiB
	names   int      // octets of names
	entries int
	done    int // steps spent on links
}

func newPlan(l Limits) *plan {
	return &plan{limits: l, nodes: map[string]*node{}}
}

// cleanName turns the name of an entry into a path below the tree, "." for the
// tree itself. what says why a name is refused.
func cleanName(raw string) (clean, what string) {
	switch {
	case raw == "":
		return "", "an entry without a name"
	case len(raw) > maxPath:
		return "", "the name is longer than 1024 octets"
	case !utf8.ValidString(raw):
		return "", "the name is not UTF-8"
	case raw[0] == '/':
		return "", "an absolute path"
	case strings.ContainsRune(raw, '\\'):
		return "", `a backslash: boot programs write it for "/"`
	case strings.ContainsFunc(raw, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", "the name has a character that cannot be printed"
	}
	parts := strings.Split(raw, "/")
	parts = slices.DeleteFunc(parts, func(s string) bool { return s == "" || s == "." })
	for _, p := range parts {
		switch {
		case p == "..":
			return "", `".." leads out`
		case len(p) > maxComponent:
			return "", "a part of the name is longer than 255 octets"
		}
	}
	switch {
	case len(parts) > maxDepth:
		return "", "folders nest deeper than 64"
	case len(parts) == 0:
		return ".", ""
	}
	return strings.Join(parts, "/"), ""
}

// add takes the next entry.
func (p *plan) add(h header) error {
	name, what := cleanName(h.name)
	if what != "" {
		return refuse(h.name, "%s", what)
	}
	if err := p.count(h); err != nil {
		return err
	}
	if name == "." {
		if h.kind != isDir {
			return refuse(h.name, "the tree itself is a folder")
		}
		return nil
	}
	if err := p.parents(name, h); err != nil {
		return err
	}
	if old, ok := p.nodes[name]; ok {
		switch {
		case old.kind == isDir && h.kind == isDir: // folders are often named twice
			old.raw = h.name
			return nil
		case old.kind == isDir && h.kind == isLink:
			return refuse(h.name, "a link in place of a folder that has entries")
		}
		return refuse(h.name, "is there twice")
	}
	n := &node{kind: h.kind, raw: h.name, target: h.target}
	switch h.kind {
	case isDir:
		p.blocks += 4096
	case isFile:
		if err := p.file(h); err != nil {
			return err
		}
	case isLink:
		if err := checkTarget(h); err != nil {
			return err
		}
		p.links = append(p.links, name)
		p.names += len(h.target)
	case isHardLink:
		to, what := cleanName(h.target)
		if what != "" {
			return refuse(h.name, "a hard link to %q: %s", clip(h.target), what)
		}
		if old, ok := p.nodes[to]; !ok || old.kind != isFile && old.kind != isHardLink {
			return refuse(h.name, "a hard link to %q, which is no file of the archive before it", clip(h.target))
		}
		n.target = to
		p.hard = append(p.hard, name)
		p.files++
	}
	p.nodes[name] = n
	return nil
}

// count is the part of add that bounds entries and names.
func (p *plan) count(h header) error {
	p.entries++
	p.names += len(h.name)
	switch {
	case p.entries > p.limits.Entries:
		return tooLarge(h.name, "more than %d entries", p.limits.Entries)
	case p.names > maxNames:
		return tooLarge(h.name, "the names are longer than %d octets together", maxNames)
	}
	return nil
}

// file is the part of add for files.
func (p *plan) file(h header) error {
	p.files++
	p.bytes += h.size
	p.blocks += (h.size + 4095) &^ 4095
	switch {
	case h.size < 0:
		return refuse(h.name, "a negative size")
	case h.size > p.limits.File:
		return tooLarge(h.name, "a file of %s: at most %s", mib(h.size), mib(p.limits.File))
	case p.bytes > p.limits.Total:
		return tooLarge(h.name, "the files are larger than %s together", mib(p.limits.Total))
	}
	return nil
}

// parents makes sure that everything above a name is a folder.
func (p *plan) parents(name string, h header) error {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		n, ok := p.nodes[dir]
		if !ok {
			// Folders need not be named. They count all the same.
			if p.entries++; p.entries > p.limits.Entries {
				return tooLarge(h.name, "more than %d entries", p.limits.Entries)
			}
			p.names += len(dir)
			p.blocks += 4096
			p.nodes[dir] = &node{kind: isDir}
			continue
		}
		switch n.kind {
		case isDir:
			return nil // and so is everything above it
		case isLink:
			return refuse(h.name, "leads through the link %q", clip(n.raw))
		case isFile, isHardLink:
			return refuse(h.name, "leads through the file %q", clip(n.raw))
		}
	}
	return nil
}

// checkTarget looks at what a symbolic link says, before it is known where that
// leads.
func checkTarget(h header) error {
	switch t := h.target; {
	case t == "":
		return refuse(h.name, "a link to nothing")
	case len(t) > maxPath:
		return refuse(h.name, "a link to a path of more than 1024 octets")
	case t[0] == '/':
		return refuse(h.name, "a link to the absolute path %q, which leads out", clip(t))
	case !utf8.ValidString(t) || strings.ContainsFunc(t, func(r rune) bool { return !unicode.IsPrint(r) || r == '\\' }):
		return refuse(h.name, "a link to %q, which has a backslash or a character that cannot be printed", clip(t))
	}
	return nil
}

// finish follows every symbolic link. It comes last because links may be named
// before what they lead through.
func (p *plan) finish() error {
	if p.entries == 0 || p.files == 0 {
		return refuse("", "there is no file in it")
	}
	for _, name := range p.links {
		if _, what := p.resolve(name); what != "" {
			return refuse(p.nodes[name].raw, "a link to %q, which %s", clip(p.nodes[name].target), what)
		}
	}
	return nil
}

// resolve walks a path as a file system would and returns where it ends, which
// need not exist. Every way out is refused, also one that comes back in.
func (p *plan) resolve(name string) (end, what string) {
	var at []string
	todo := strings.Split(name, "/")
	hops := 0
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		if p.done++; p.done > maxSteps {
			return "", "is one of too many links through links"
		}
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return "", "leads out of the tree"
			}
			at = at[:len(at)-1]
			continue
		}
		at = append(at, part)
		n, ok := p.nodes[strings.Join(at, "/")]
		if !ok || n.kind != isLink {
			continue
		}
		if hops++; hops > maxHops {
			return "", "leads in a circle, or through more than 8 links"
		}
		at = at[:len(at)-1]
		todo = append(strings.Split(n.target, "/"), todo...)
	}
	if len(at) == 0 {
		return ".", ""
	}
	return strings.Join(at, "/"), ""
}

// programs lists what can be booted: files, and links to files, whose names are
// known. Those nearest to the top come first; there are at most 64.
func (p *plan) programs() []string {
	var found []string
	for name, n := range p.nodes {
		if !bootable(path.Base(name)) {
			continue
		}
		if n.kind == isLink {
			end, what := p.resolve(name)
			to, ok := p.nodes[end]
			if what != "" || !ok {
				continue
			}
			n = to
		}
		if n.kind == isFile || n.kind == isHardLink {
			found = append(found, name)
		}
	}
	return sortPrograms(found)
}

func sortPrograms(found []string) []string {
	slices.SortFunc(found, func(a, b string) int {
		if d := strings.Count(a, "/") - strings.Count(b, "/"); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return found[:min(len(found), 64)]
}

// programNames are names of boot programs, kernels and initial file systems,
// as distributions spell them.
var programNames = []string{
	"pxelinux.0", "lpxelinux.0", "gpxelinux.0", "syslinux.efi", "ipxe.efi", "snponly.efi", "undionly.kpxe", "ipxe.pxe",
	"bootnetx64.efi", "bootnetia32.efi", "bootnetaa64.efi", "bootx64.efi", "bootia32.efi", "bootaa64.efi",
	"grubx64.efi", "grubaa64.efi", "grubia32.efi", "grubnetx64.efi", "core.efi", "grub2pxe",
	"shimx64.efi", "shimaa64.efi", "shim.efi", "linux", "vmlinuz", "vmlinux", "bzimage", "kernel", "image",
	"wimboot", "boot.wim", "bcd", "boot.sdi", "bootmgr.exe", "bootmgfw.efi",
}

// bootable says whether a file of this name may be a boot program, kernel or
// initial file system.
func bootable(base string) bool {
	base = strings.TrimSuffix(strings.ToLower(base), ".signed")
	if slices.Contains(programNames, base) {
		return true
	}
	for _, prefix := range []string{"vmlinuz-", "initrd", "initramfs"} {
		if strings.HasPrefix(base, prefix) {
			return true
		}
	}
	return false
}
