// Package settings reads what the operator has set: one strict JSON document,
// overridden by flags of the same names. It turns the raw document into checked
// values, once; nothing later has to doubt them.
//
// It must never accept what it does not understand: an unknown key, a value of
// the wrong kind or a boot file name that no reply could carry is an error that
// names the key and says what to write instead.
package settings

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// Version is the settings document's schema version.
const Version = 1

// FileName is the settings document's name in the state directory.
const FileName = "settings.json"

// maxFileSize bounds the settings document, in bytes.
const maxFileSize = 1 << 20

// maxRules bounds the rules of one document.
const maxRules = 10000

// Document is the settings file as written. Keys equal flag names where there
// is a flag.
type Document struct {
	Version       int      `json:"version"`        // schema version; 0 is read as 1
	Interface     []string `json:"interface"`      // interfaces to serve; empty: all
	State         string   `json:"state"`          // state directory
	HTTP          string   `json:"http"`           // boot plane listener
	Admin         string   `json:"admin"`          // pages and API listener
	Metrics       string   `json:"metrics"`        // Prometheus listener
	Files         string   `json:"files"`          // operator's own files
	DefaultScript string   `json:"default-script"` // files/PATH or URL
	LogLevel      string   `json:"log-level"`      // debug, info, warn, error
	Observe       bool     `json:"observe"`        // decide and log, send nothing

	// Keys without a flag.
	MenuURL      string `json:"menu-url"`       // offered in the menu as "chain to"
	BaseURL      string `json:"base-url"`       // instead of http://<our address>
	UEFIFirst    string `json:"uefi-first"`     // direct or two-step
	IPXEPriority *bool  `json:"ipxe-priority"`  // send 175.1 = 1; default true
	LenientGUID  bool   `json:"lenient-guid"`   // answer clients with a malformed option 97
	DHCPRate     int    `json:"dhcp-rate"`      // answers per second to all clients together
	TFTPBlock    int    `json:"tftp-blocksize"` // upper limit of the block size, octets
	Relays       Relays `json:"relays"`
	Rules        []Rule `json:"rules"`

	// Seeing.
	Site            string   `json:"site"`             // name of the place, for Prometheus and logs
	ProbeEvery      string   `json:"probe-every"`      // how often DHCP servers are asked; "0s": never
	ExpectedServers []string `json:"expected-servers"` // DHCP and boot servers that belong here
	QuirkKeys       []string `json:"quirk-keys"`       // base64 Ed25519 keys whose quirk files are believed
	SyslogListen    string   `json:"syslog-listen"`    // where machines' log lines are taken; empty: nowhere
	SyslogForward   string   `json:"syslog-forward"`   // udp://host:514 or tcp://host:514
	CaptureMemory   int      `json:"capture-memory"`   // MiB of recent packets kept; 0: none
}

// Relays says which DHCP relays are answered.
type Relays struct {
	Mode    string   `json:"mode"`    // auto (default), list, off
	Allow   []string `json:"allow"`   // relay addresses, mode list
	Clients []string `json:"clients"` // client networks behind them, mode list
}

// Rule is a rule as written; see boot.Rule.
type Rule struct {
	MAC          string   `json:"mac"`
	UUID         string   `json:"uuid"`
	Arch         []string `json:"arch"` // names of the architecture table, or numbers
	File         string   `json:"file"`
	Style        string   `json:"style"` // direct, two-step
	As           string   `json:"as"`    // architecture to take the client for
	Deny         bool     `json:"deny"`
	SnoozeUntil  string   `json:"snooze-until"` // RFC 3339
	IPXEPriority *bool    `json:"ipxe-priority"`
	Config       string   `json:"pxelinux-config"` // option 209
	Prefix       string   `json:"pxelinux-prefix"` // option 210
	Delay        string   `json:"delay"`           // "250ms", at most 1s
}

// RelayMode says how relayed requests are treated.
type RelayMode string

// Relay modes. Auto answers relays whose address is not reachable from the
// internet: a relay forwards to us only because somebody told it to.
const (
	RelayAuto RelayMode = "auto"
	RelayList RelayMode = "list"
	RelayOff  RelayMode = "off"
)

// Settings are the checked values.
type Settings struct {
	Interfaces      []string
	State           string
	HTTP            string
	Admin           string
	Metrics         string
	Files           string
	DefaultScript   string // "files/…" or an absolute URL; empty: the menu
	MenuURL         string
	LogLevel        slog.Level
	Observe         bool
	LenientGUID     bool
	DHCPRate        int
	TFTPBlock       int
	RelayMode       RelayMode
	RelayAllow      []netip.Addr
	RelayClients    []netip.Prefix
	Policy          boot.Policy
	Site            string
	ProbeEvery      time.Duration // 0: never
	ExpectedServers []netip.Addr
	QuirkKeys       []ed25519.PublicKey
	SyslogListen    string
	SyslogForward   string
	CaptureBytes    int
	Document        Document // as written, flags on top
}

// Defaults are the values of a box nobody has set anything on.
func Defaults() Document {
	return Document{
		Version: Version, State: "/var/lib/bootpuck", HTTP: ":80", Admin: ":8080", Metrics: ":9469",
		LogLevel: "info", DHCPRate: 50000, TFTPBlock: 1468, Relays: Relays{Mode: string(RelayAuto)},
		ProbeEvery: "10m", SyslogListen: ":514", CaptureMemory: 4,
	}
}

// listFlag is a repeatable flag; the first use replaces what the file said.
type listFlag struct {
	to  *[]string
	set bool
}

// String implements flag.Value.
func (l *listFlag) String() string {
	if l.to == nil {
		return ""
	}
	return strings.Join(*l.to, ",")
}

// Set implements flag.Value.
func (l *listFlag) Set(s string) error {
	if s == "" {
		return errors.New("want an interface name")
	}
	if !l.set {
		*l.to, l.set = nil, true
	}
	*l.to = append(*l.to, s)
	return nil
}

// Flags defines the command line on flags, with doc as the values so far.
func Flags(flags *flag.FlagSet, doc *Document) {
	flags.Var(&listFlag{to: &doc.Interface}, "interface", "network interface to serve (repeatable; default all)")
	flags.StringVar(&doc.State, "state", doc.State, "directory for settings and state")
	flags.StringVar(&doc.HTTP, "http", doc.HTTP, "address of the HTTP server for machines")
	flags.StringVar(&doc.Admin, "admin", doc.Admin, "address of the pages and the API")
	flags.StringVar(&doc.Metrics, "metrics", doc.Metrics, "address of the Prometheus endpoint")
	flags.StringVar(&doc.Files, "files", doc.Files, "directory of your own files, served read-only as files/… by TFTP and HTTP")
	flags.StringVar(&doc.DefaultScript, "default-script", doc.DefaultScript, "what machines get instead of the menu: files/PATH or a URL")
	flags.StringVar(&doc.LogLevel, "log-level", doc.LogLevel, "debug, info, warn or error")
	flags.BoolVar(&doc.Observe, "observe", doc.Observe, "decide and log, but send nothing")
}

// Line is a command line that has been read.
type Line struct {
	name     string
	args     []string
	extra    func(*flag.FlagSet)
	doc      Document // defaults with the flags on top
	file     string   // the settings document
	explicit bool     // it was named, so it has to be there
}

// ParseArgs reads a command line. extra defines flags of the caller's own.
// Usage and errors of flags are printed to output; -help yields flag.ErrHelp.
func ParseArgs(name string, args []string, output io.Writer, extra func(*flag.FlagSet)) (*Line, error) {
	l := &Line{name: name, args: args, extra: extra, doc: Defaults()}
	var err error
	if l.file, err = l.parse(&l.doc, output); err != nil {
		return nil, err
	}
	l.explicit = l.file != ""
	if !l.explicit {
		l.file = filepath.Join(l.doc.State, FileName)
	}
	return l, nil
}

func (l *Line) parse(doc *Document, output io.Writer) (file string, err error) {
	flags := flag.NewFlagSet(l.name, flag.ContinueOnError)
	flags.SetOutput(output)
	Flags(flags, doc)
	flags.StringVar(&file, "settings", "", "settings document (default settings.json in the state directory)")
	l.extra(flags)
	if err := flags.Parse(l.args); err != nil {
		return "", err
	}
	if flags.NArg() > 0 {
		return "", fmt.Errorf("unexpected argument %q: every setting is a flag, see -help", flags.Arg(0))
	}
	return file, nil
}

// State is the state directory that the command line names, or the default.
func (l *Line) State() string { return l.doc.State }

// Load reads the settings document that the line leads to, puts the flags on
// top, and checks the whole. Without -settings the document may be absent.
func (l *Line) Load() (*Settings, error) {
	doc := Defaults()
	if err := readDocument(l.file, &doc); err != nil && (l.explicit || !errors.Is(err, fs.ErrNotExist)) {
		return nil, err
	}
	if _, err := l.parse(&doc, io.Discard); err != nil {
		return nil, err
	}
	return doc.Check()
}

func readDocument(file string, doc *Document) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	if err := Parse(data, doc); err != nil {
		return fmt.Errorf("settings %s: %w", file, err)
	}
	return nil
}

// Parse reads a settings document over the values that doc has. Errors name
// the line and the key.
func Parse(data []byte, doc *Document) error {
	if len(data) > maxFileSize {
		return fmt.Errorf("larger than %d bytes", maxFileSize)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(doc); err != nil {
		return explain(data, dec.InputOffset(), err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("line %d: text after the end of the document", line(data, dec.InputOffset()))
	}
	if doc.Version != 0 && doc.Version != Version {
		return fmt.Errorf("key %q: this bootpuck reads version %d, the document says %d", "version", Version, doc.Version)
	}
	return nil
}

// explain turns a decoder's error into one that names line and key.
func explain(data []byte, offset int64, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("line %d: not valid JSON: %w", line(data, syntax.Offset), err)
	case errors.As(err, &kind):
		return fmt.Errorf("line %d: key %q: want %s, found %s", line(data, kind.Offset), kind.Field, kind.Type, kind.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("line %d: the document ends too early", line(data, int64(len(data))))
	}
	if _, key, ok := strings.Cut(err.Error(), "unknown field "); ok {
		return fmt.Errorf("line %d: unknown key %s", line(data, offset), key)
	}
	return fmt.Errorf("line %d: %w", line(data, offset), err)
}

func line(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(int(offset), len(data))], []byte("\n"))
}

// Check turns the document into checked values. An error names the key.
func (d Document) Check() (*Settings, error) {
	s := &Settings{
		Interfaces: d.Interface, State: d.State, HTTP: d.HTTP, Admin: d.Admin, Metrics: d.Metrics,
		Files: d.Files, DefaultScript: d.DefaultScript, MenuURL: d.MenuURL, Observe: d.Observe,
		LenientGUID: d.LenientGUID, DHCPRate: d.DHCPRate, TFTPBlock: d.TFTPBlock, Document: d,
	}
	for _, l := range []struct{ key, value string }{{"http", d.HTTP}, {"admin", d.Admin}, {"metrics", d.Metrics}} {
		if _, err := listenPort(l.value); err != nil {
			return nil, fmt.Errorf("%s: %w", l.key, err)
		}
	}
	s.Policy.HTTPPort, _ = listenPort(d.HTTP)
	if host, _, _ := net.SplitHostPort(d.HTTP); host != "" && d.BaseURL == "" && s.Policy.HTTPPort != 0 {
		// Listening on one address only, that is the one to tell machines.
		if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() {
			s.Policy.BaseURL = boot.Policy{HTTPPort: s.Policy.HTTPPort}.URL(a)
		}
	}
	for _, name := range d.Interface {
		if name == "" || len(name) > 127 || // an alternative name may be long
			strings.ContainsAny(name, "/ \t\n") {
			return nil, fmt.Errorf("interface: %q is not an interface name", name)
		}
	}
	if d.State == "" {
		return nil, errors.New("state: want a directory")
	}
	if err := s.LogLevel.UnmarshalText([]byte(d.LogLevel)); err != nil {
		return nil, fmt.Errorf("log-level: %q is none of debug, info, warn, error", d.LogLevel)
	}
	if d.Files != "" {
		if info, err := os.Stat(d.Files); err != nil {
			return nil, fmt.Errorf("files: %w", err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("files: %s is not a directory", d.Files)
		}
	}
	var err error
	if s.DefaultScript, err = checkDefaultScript(d.DefaultScript, d.Files != ""); err != nil {
		return nil, fmt.Errorf("default-script: %w", err)
	}
	if d.MenuURL != "" {
		if err := checkURL(d.MenuURL); err != nil {
			return nil, fmt.Errorf("menu-url: %w", err)
		}
	}
	if d.BaseURL != "" {
		s.Policy.BaseURL = strings.TrimSuffix(d.BaseURL, "/")
		if err := checkURL(s.Policy.BaseURL); err != nil {
			return nil, fmt.Errorf("base-url: %w", err)
		}
		if len(s.Policy.BaseURL) > 180 {
			return nil, errors.New("base-url: longer than 180 bytes; DHCP could not carry the boot files' addresses")
		}
	}
	s.Policy.FirstForm = boot.Form(d.UEFIFirst)
	if !s.Policy.FirstForm.Valid() {
		return nil, fmt.Errorf("uefi-first: %q is neither direct nor two-step", d.UEFIFirst)
	}
	s.Policy.NoPriority = d.IPXEPriority != nil && !*d.IPXEPriority
	if d.DHCPRate < 1 || d.DHCPRate > 10_000_000 {
		return nil, fmt.Errorf("dhcp-rate: %d is not between 1 and 10000000 answers per second", d.DHCPRate)
	}
	if d.TFTPBlock < 512 || d.TFTPBlock > 8960 {
		return nil, fmt.Errorf("tftp-blocksize: %d is not between 512 and 8960 octets", d.TFTPBlock)
	}
	if err := s.checkRelays(d.Relays); err != nil {
		return nil, fmt.Errorf("relays: %w", err)
	}
	if err := s.checkSeeing(d); err != nil {
		return nil, err
	}
	if len(d.Rules) > maxRules {
		return nil, fmt.Errorf("rules: %d rules, at most %d are kept", len(d.Rules), maxRules)
	}
	for i, r := range d.Rules {
		rule, err := r.check()
		if err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
		s.Policy.Rules = append(s.Policy.Rules, rule)
	}
	return s, nil
}

// Bounds of the settings about seeing.
const (
	minProbe      = time.Minute // a question to the DHCP servers is rare on purpose
	maxExpected   = 64
	maxQuirkKeys  = 16
	maxCaptureMiB = 64
	maxSite       = 64
)

// checkSeeing checks what the box listens to, asks and keeps for people.
func (s *Settings) checkSeeing(d Document) error {
	var err error
	if len(d.Site) > maxSite || strings.ContainsFunc(d.Site, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }) {
		return fmt.Errorf("site: %.80q: want at most %d octets of printable text", d.Site, maxSite)
	}
	s.Site = d.Site
	if s.ProbeEvery, err = time.ParseDuration(d.ProbeEvery); err != nil || s.ProbeEvery != 0 && s.ProbeEvery < minProbe || s.ProbeEvery > 24*time.Hour {
		return fmt.Errorf(`probe-every: %q: want a duration from 1m to 24h like "10m", or "0s" for never`, d.ProbeEvery)
	}
	if len(d.ExpectedServers) > maxExpected {
		return fmt.Errorf("expected-servers: %d addresses, at most %d", len(d.ExpectedServers), maxExpected)
	}
	for _, a := range d.ExpectedServers {
		addr, err := netip.ParseAddr(a)
		if err != nil || !addr.Is4() {
			return fmt.Errorf("expected-servers: %q is not an IPv4 address", a)
		}
		s.ExpectedServers = append(s.ExpectedServers, addr)
	}
	if len(d.QuirkKeys) > maxQuirkKeys {
		return fmt.Errorf("quirk-keys: %d keys, at most %d", len(d.QuirkKeys), maxQuirkKeys)
	}
	for _, k := range d.QuirkKeys {
		key, err := base64.StdEncoding.DecodeString(k)
		if err != nil || len(key) != ed25519.PublicKeySize {
			return fmt.Errorf("quirk-keys: %.80q is not an Ed25519 public key in base64", k)
		}
		s.QuirkKeys = append(s.QuirkKeys, key)
	}
	if s.SyslogListen = d.SyslogListen; s.SyslogListen != "" {
		if _, err := listenPort(s.SyslogListen); err != nil {
			return fmt.Errorf("syslog-listen: %w", err)
		}
	}
	if s.SyslogForward = d.SyslogForward; s.SyslogForward != "" {
		u, err := url.Parse(s.SyslogForward)
		if err != nil || u.Scheme != "udp" && u.Scheme != "tcp" || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
			return fmt.Errorf("syslog-forward: %q: want udp://host:514 or tcp://host:514", s.SyslogForward)
		}
	}
	if d.CaptureMemory < 0 || d.CaptureMemory > maxCaptureMiB {
		return fmt.Errorf("capture-memory: %d is not between 0 and %d MiB", d.CaptureMemory, maxCaptureMiB)
	}
	s.CaptureBytes = d.CaptureMemory << 20
	return nil
}

// listenPort returns the port of a listener address like ":80" or
// "127.0.0.1:8080". Port 0 asks the system for a free one.
func listenPort(addr string) (int, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, fmt.Errorf("%q is no address to listen on; want a port like :80, or address and port like 192.0.2.1:80", addr)
	}
	n, err := net.LookupPort("tcp", port)
	if err != nil {
		return 0, fmt.Errorf("%q: port %q is not a number from 0 to 65535", addr, port)
	}
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return 0, fmt.Errorf("%q: %q is not an IP address", addr, host)
		}
	}
	return n, nil
}

func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("%q is not a URL", s)
	}
	switch u.Scheme {
	case "http", "https", "tftp", "ftp", "nfs":
	default:
		return fmt.Errorf("%q: want a URL that begins with http://, https:// or tftp://", s)
	}
	if u.Host == "" {
		return fmt.Errorf("%q names no host", s)
	}
	// It is written into scripts as it is: white space would end the word and
	// ${ would be expanded.
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '$' || r == '"' || r == '\'' || r == '\\' }) {
		return fmt.Errorf("%q: spaces, quotes, $, \\ and letters beyond ASCII must be percent-encoded", s)
	}
	return nil
}

func checkDefaultScript(s string, haveFiles bool) (string, error) {
	if s == "" {
		return "", nil
	}
	if strings.Contains(s, "://") {
		return s, checkURL(s)
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(s, "/"), "files/")
	if !ok || rest == "" || !fs.ValidPath(rest) || path.Clean(rest) != rest {
		return "", fmt.Errorf("%q: want files/PATH (below the files directory) or a URL", s)
	}
	if !haveFiles {
		return "", fmt.Errorf("%q needs the setting files: the directory it lies in", s)
	}
	return "files/" + rest, nil
}

func (s *Settings) checkRelays(r Relays) error {
	s.RelayMode = RelayMode(r.Mode)
	switch s.RelayMode {
	case "":
		s.RelayMode = RelayAuto
	case RelayAuto, RelayOff, RelayList:
	default:
		return fmt.Errorf("mode: %q is none of auto, list, off", r.Mode)
	}
	for _, a := range r.Allow {
		addr, err := netip.ParseAddr(a)
		if err != nil || !addr.Is4() {
			return fmt.Errorf("allow: %q is not an IPv4 address", a)
		}
		s.RelayAllow = append(s.RelayAllow, addr)
	}
	for _, c := range r.Clients {
		p, err := netip.ParsePrefix(c)
		if err != nil || !p.Addr().Is4() {
			return fmt.Errorf("clients: %q is not an IPv4 network like 10.1.0.0/24", c)
		}
		s.RelayClients = append(s.RelayClients, p.Masked())
	}
	return nil
}

// maxName is the longest boot file name that a reply can carry: option 67 holds
// 255 octets, one of them the terminating NUL (RFC 2132 section 9.5).
const maxName = 254

func (r Rule) check() (boot.Rule, error) {
	out := boot.Rule{File: r.File, Form: boot.Form(r.Style), Deny: r.Deny, Config: r.Config, Prefix: r.Prefix}
	var err error
	if r.MAC != "" {
		if out.MAC, err = boot.ParseMAC(r.MAC); err != nil {
			return out, fmt.Errorf("mac: %w", err)
		}
	}
	if r.UUID != "" {
		if out.GUID, err = boot.ParseGUID(r.UUID); err != nil {
			return out, fmt.Errorf("uuid: %w", err)
		}
	}
	for _, name := range r.Arch {
		a, err := boot.ParseArch(name)
		if err != nil {
			return out, fmt.Errorf("arch: %w", err)
		}
		out.Archs = append(out.Archs, a)
	}
	if r.As != "" {
		a, err := boot.ParseArch(r.As)
		if err != nil {
			return out, fmt.Errorf("as: %w", err)
		}
		out.As = &a
	}
	if !out.Form.Valid() {
		return out, fmt.Errorf("style: %q is neither direct nor two-step", r.Style)
	}
	if err := checkFile(r.File, out.Archs); err != nil {
		return out, fmt.Errorf("file: %w", err)
	}
	for _, o := range []struct{ key, value string }{{"pxelinux-config", r.Config}, {"pxelinux-prefix", r.Prefix}} {
		if len(o.value) > 200 {
			return out, fmt.Errorf("%s: longer than 200 bytes", o.key)
		}
	}
	if r.SnoozeUntil != "" {
		if out.Snooze, err = time.Parse(time.RFC3339, r.SnoozeUntil); err != nil {
			return out, fmt.Errorf("snooze-until: %q: want a time like 2026-01-31T18:00:00Z", r.SnoozeUntil)
		}
	}
	if r.Delay != "" {
		if out.Delay, err = time.ParseDuration(r.Delay); err != nil || out.Delay < 0 || out.Delay > time.Second {
			return out, fmt.Errorf("delay: %q: want a duration from 0s to 1s", r.Delay)
		}
	}
	out.NoPriority = r.IPXEPriority != nil && !*r.IPXEPriority
	return out, nil
}

// checkFile refuses what DHCP cannot carry, and for HTTP Boot rules what EDK2
// would load and then reject: it judges by the path's extension.
func checkFile(file string, archs []boot.Arch) error {
	if file == "" {
		return nil
	}
	if len(file) > maxName {
		return fmt.Errorf("%.30q…: %d bytes; DHCP carries at most %d", file, len(file), maxName)
	}
	for i := range len(file) {
		if file[i] <= ' ' || file[i] >= 0x7f {
			return fmt.Errorf("%q: only printable ASCII without spaces", file)
		}
	}
	for _, a := range archs {
		if info, ok := a.Info(); ok && info.HTTP && info.Platform == boot.PlatformUEFI {
			p := file
			if u, err := url.Parse(file); err == nil {
				p = u.Path
			}
			switch path.Ext(p) {
			case ".efi", ".iso", ".img":
			default:
				return fmt.Errorf("%q: UEFI HTTP Boot accepts only names that end in .efi, .iso or .img", file)
			}
		}
	}
	return nil
}
