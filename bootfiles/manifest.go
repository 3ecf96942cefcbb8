package bootfiles

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
)

// Version is the manifest layout this program reads and writes.
const Version = 1

// maxFile bounds one boot file, and maxPackage one archive file, in bytes. They
// keep a mistyped size in the manifest from asking for all memory or disk.
const (
	maxFile    = 64 << 20
	maxPackage = 256 << 20
)

// Pins is the whole manifest: which bytes are fetched, out of what, and why we
// may pass them on.
type Pins struct {
	// Version is the layout's version, see the constant of that name.
	Version int `json:"version"`
	// Packages are the binary packages that members are unpacked from.
	Packages []Package `json:"packages"`
	// Sources are the source packages that the binary packages were built from.
	Sources []Source `json:"sources"`
	// Files are embedded and served.
	Files []File `json:"files"`
	// Medium are files needed only to build the bootable USB image.
	Medium []File `json:"medium"`
}

// Package is one exact binary package of the Debian archive.
type Package struct {
	// Name and Version as apt knows them; Version with epoch.
	Name    string `json:"name"`
	Version string `json:"version"`
	// Architecture is Debian's name of it: all, amd64, armhf.
	Architecture string `json:"architecture"`
	// Suites are the releases whose signed index is asked for this version, in order.
	Suites []string `json:"suites"`
	// Component is the archive area, normally main.
	Component string `json:"component"`
	// Pool lists paths below a mirror's base where the file lies, tried in order
	// when no index names this version any more. Never with a host.
	Pool []string `json:"pool"`
	// Size is in bytes, SHA256 in lower-case hex, both of the .deb file.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Source is the ID of the entry in Pins.Sources this was built from.
	Source string `json:"source"`
	// BuiltUsing are the IDs of further sources whose code is inside: a package of
	// signed programs is made of another source's binaries and its own signatures
	// (Debian policy 7.8).
	BuiltUsing []string `json:"built_using,omitempty"`
}

// ID names the package as apt takes it: name:architecture=version.
func (p Package) ID() string {
	if p.Architecture == "all" {
		return p.Name + "=" + p.Version
	}
	return p.Name + ":" + p.Architecture + "=" + p.Version
}

// FileName is the name of the .deb in the archive's pool.
func (p Package) FileName() string {
	return p.Name + "_" + withoutEpoch(p.Version) + "_" + p.Architecture + ".deb"
}

// Check compares the bytes read from r with the pin, reading at most one byte
// more than it allows. A difference is a *MismatchError.
func (p Package) Check(r io.Reader) error { return check(p.FileName(), p.Size, p.SHA256, r) }

// Source is one exact source package: all the files that rebuild its binaries.
type Source struct {
	Name    string       `json:"name"`
	Version string       `json:"version"`
	Files   []SourceFile `json:"files"`
}

// ID names the source package: name=version.
func (s Source) ID() string { return s.Name + "=" + s.Version }

// SourceFile is one file of a source package. Size is in bytes, Pool a path
// below a mirror's base.
type SourceFile struct {
	Pool   string `json:"pool"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// FileName is the last element of the pool path.
func (f SourceFile) FileName() string { return f.Pool[strings.LastIndexByte(f.Pool, '/')+1:] }

// Check compares the bytes read from r with the pin. A difference is a *MismatchError.
func (f SourceFile) Check(r io.Reader) error { return check(f.FileName(), f.Size, f.SHA256, r) }

// File is one file as machines ask for it.
type File struct {
	// Path is the name served, slash-separated, relative.
	Path string `json:"path"`
	// Package is the name of the entry in Pins.Packages, with ":architecture" where
	// the manifest has several of that name. Member is the path inside it (no
	// leading slash or dot).
	Package string `json:"package"`
	Member  string `json:"member"`
	// Size is in bytes, SHA256 in lower-case hex.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// Licence is an SPDX expression.
	Licence string `json:"licence"`
	// Architecture is that of the machines it runs on: i386, x86_64, arm, arm64,
	// riscv64, loong64, or all.
	Architecture string `json:"architecture"`
	// Role is what it is for: see the Role constants.
	Role Role `json:"role"`
	// Local is an absolute path where a Debian machine may already have the very
	// same bytes; it is used only when the hash agrees.
	Local string `json:"local,omitempty"`
	// Note is for people.
	Note string `json:"note,omitempty"`
}

// Check compares data with the pin. A difference is a *MismatchError.
func (f File) Check(data []byte) error {
	return check(f.Path, f.Size, f.SHA256, bytes.NewReader(data))
}

// Role says what a file is for.
type Role string

// The roles of files.
const (
	RoleIPXEBIOS    Role = "ipxe-bios"    // iPXE started by a PXE ROM or a boot loader of a BIOS
	RoleIPXEEFI     Role = "ipxe-efi"     // iPXE as a UEFI application
	RoleGRUBEFI     Role = "grub-efi"     // GRUB as a UEFI application that reads /grub/grub.cfg
	RoleMemtestBIOS Role = "memtest-bios" // memtest86+ for iPXE's kernel command on a BIOS
	RoleMemtestEFI  Role = "memtest-efi"  // memtest86+ as a UEFI application
	RoleLicence     Role = "licence"      // a text that must travel with the others
	RoleUSBBIOS     Role = "usb-bios"     // a part of the USB image's BIOS side
	RoleShimEFI     Role = "shim-efi"     // shim and its helpers: what firmware trusts under Secure Boot
	RolePXELinux    Role = "pxelinux"     // pxelinux as a PXE ROM starts it
	RoleSyslinux    Role = "syslinux-module"
	RoleMemdisk     Role = "memdisk" // starts disk images out of memory on a BIOS
)

func (r Role) known() bool {
	switch r {
	case RoleIPXEBIOS, RoleIPXEEFI, RoleGRUBEFI, RoleMemtestBIOS, RoleMemtestEFI, RoleLicence, RoleUSBBIOS,
		RoleShimEFI, RolePXELinux, RoleSyslinux, RoleMemdisk:
		return true
	}
	return false
}

// MismatchError says that bytes are not the pinned ones.
type MismatchError struct {
	// Name is the file, as its pin names it.
	Name string
	// WantSize and GotSize are in bytes. GotSize is at most WantSize+1: reading
	// stops there.
	WantSize, GotSize int64
	// WantSHA256 and GotSHA256 are lower-case hex.
	WantSHA256, GotSHA256 string
}

// Error names the file and both hashes.
func (e *MismatchError) Error() string {
	size := ""
	switch {
	case e.GotSize > e.WantSize:
		size = fmt.Sprintf(", size more than the pinned %d bytes", e.WantSize)
	case e.GotSize < e.WantSize:
		size = fmt.Sprintf(", size %d instead of %d bytes", e.GotSize, e.WantSize)
	}
	return fmt.Sprintf("%s: sha256 is %s, pinned is %s%s", e.Name, e.GotSHA256, e.WantSHA256, size)
}

func check(name string, size int64, sum string, r io.Reader) error {
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(r, size+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); n != size || got != sum {
		return &MismatchError{Name: name, WantSize: size, GotSize: n, WantSHA256: sum, GotSHA256: got}
	}
	return nil
}

// Parse reads a manifest and checks that it is consistent: unknown keys, paths
// that leave their folder, host names in pool paths, hashes of the wrong shape
// and references to nothing are errors that name the entry.
func Parse(data []byte) (Pins, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var p Pins
	if err := dec.Decode(&p); err != nil {
		return Pins{}, fmt.Errorf("parse boot file manifest: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Pins{}, errors.New("parse boot file manifest: more than one JSON value")
	}
	if err := p.validate(); err != nil {
		return Pins{}, fmt.Errorf("boot file manifest: %w", err)
	}
	return p, nil
}

// Package returns the package that a File.Package names: "name" where one
// architecture of it is pinned, else "name:architecture". A bare name of several
// is not found.
func (p Pins) Package(ref string) (Package, bool) {
	name, arch, given := strings.Cut(ref, ":")
	var found []Package
	for _, pkg := range p.Packages {
		if pkg.Name == name && (!given || pkg.Architecture == arch) {
			found = append(found, pkg)
		}
	}
	if len(found) != 1 {
		return Package{}, false
	}
	return found[0], true
}

// File returns the file served under that name.
func (p Pins) File(name string) (File, bool) {
	for _, f := range p.Files {
		if f.Path == name {
			return f, true
		}
	}
	return File{}, false
}

var (
	hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)
	// Debian policy 5.6.1 and 5.6.12, and codenames: what may reach an apt command
	// line or configuration file. None can begin with a dash or hold a quote.
	pkgName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]{1,60}$`)
	version = regexp.MustCompile(`^[0-9][A-Za-z0-9.+~:-]{0,120}$`)
	word    = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,30}$`)
	poolRE  = regexp.MustCompile(`^pool/[A-Za-z0-9][A-Za-z0-9.+~_/-]*$`)
	pathRE  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,119}$`)
)

func (p Pins) validate() error {
	if p.Version != Version {
		return fmt.Errorf("version %d, this program reads %d", p.Version, Version)
	}
	sources := map[string]bool{}
	for _, s := range p.Sources {
		if !pkgName.MatchString(s.Name) || !version.MatchString(s.Version) || len(s.Files) == 0 || sources[s.ID()] {
			return fmt.Errorf("source %q: bad name or version, no files, or listed twice", s.ID())
		}
		sources[s.ID()] = true
		for _, f := range s.Files {
			if err := validPool(f.Pool); err != nil {
				return fmt.Errorf("source %s: %w", s.ID(), err)
			}
			if err := validPin(f.Size, maxPackage, f.SHA256); err != nil {
				return fmt.Errorf("source %s: %s: %w", s.ID(), f.FileName(), err)
			}
		}
	}
	packages := map[string]bool{}
	for _, pkg := range p.Packages {
		if err := pkg.validate(sources); err != nil {
			return fmt.Errorf("package %q: %w", pkg.Name, err)
		}
		key := pkg.Name + ":" + pkg.Architecture
		if packages[key] {
			return fmt.Errorf("package %q: listed twice", pkg.Name)
		}
		packages[key] = true
	}
	for _, list := range [][]File{p.Files, p.Medium} {
		paths := map[string]bool{}
		for _, f := range list {
			if err := f.validate(p); err != nil {
				return fmt.Errorf("file %q: %w", f.Path, err)
			}
			if paths[f.Path] {
				return fmt.Errorf("file %q: listed twice", f.Path)
			}
			paths[f.Path] = true
		}
		for name := range paths {
			for i, c := range name {
				if c == '/' && paths[name[:i]] {
					return fmt.Errorf("file %q: is also the folder of %q", name[:i], name)
				}
			}
		}
	}
	return nil
}

func (p Package) validate(sources map[string]bool) error {
	switch {
	case !pkgName.MatchString(p.Name):
		return errors.New("bad name")
	case !version.MatchString(p.Version):
		return fmt.Errorf("bad version %q", p.Version)
	case !word.MatchString(p.Architecture):
		return fmt.Errorf("bad architecture %q", p.Architecture)
	case !word.MatchString(p.Component):
		return fmt.Errorf("bad component %q", p.Component)
	case len(p.Suites) == 0 || len(p.Pool) == 0:
		return errors.New("no suite or no pool path")
	case !sources[p.Source]:
		return fmt.Errorf("source %q is not listed", p.Source)
	}
	for _, s := range p.BuiltUsing {
		if !sources[s] {
			return fmt.Errorf("source %q is not listed", s)
		}
	}
	for _, s := range p.Suites {
		if !word.MatchString(s) {
			return fmt.Errorf("bad suite %q", s)
		}
	}
	for _, path := range p.Pool {
		if err := validPool(path); err != nil {
			return err
		}
	}
	return validPin(p.Size, maxPackage, p.SHA256)
}

func (f File) validate(pins Pins) error {
	_, packaged := pins.Package(f.Package)
	switch {
	case !fs.ValidPath(f.Path) || !pathRE.MatchString(f.Path):
		return errors.New("bad path")
	case f.Path == "README":
		return errors.New("README is the placeholder's name")
	case !packaged:
		return fmt.Errorf("package %q is not listed, or several are and it does not say which", f.Package)
	case !fs.ValidPath(f.Member) || f.Member == ".":
		return fmt.Errorf("bad member %q", f.Member)
	case f.Local != "" && (!strings.HasPrefix(f.Local, "/") || !fs.ValidPath(f.Local[1:])):
		return fmt.Errorf("bad local path %q", f.Local)
	case f.Licence == "" || f.Architecture == "":
		return errors.New("no licence or no architecture")
	case !f.Role.known():
		return fmt.Errorf("unknown role %q", f.Role)
	}
	return validPin(f.Size, maxFile, f.SHA256)
}

func validPool(p string) error {
	if !poolRE.MatchString(p) || !fs.ValidPath(p) {
		return fmt.Errorf("bad pool path %q: want pool/… without a host", p)
	}
	return nil
}

func validPin(size, limit int64, sum string) error {
	if size <= 0 || size > limit {
		return fmt.Errorf("size %d is not between 1 and %d bytes", size, limit)
	}
	if !hexSHA256.MatchString(sum) {
		return fmt.Errorf("sha256 %q is not 64 lower-case hex digits", sum)
	}
	return nil
}

func withoutEpoch(v string) string {
	if _, after, ok := strings.Cut(v, ":"); ok {
		return after
	}
	return v
}
