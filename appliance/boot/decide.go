package boot

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Form is the shape of a DHCP answer. Which one a client understands depends on
// the firmware and its generation.
type Form string

// Answer forms.
const (
	FormNone    Form = ""
	FormDirect  Form = "direct"   // option 43 = 06 01 08 FF and the file in the OFFER
	FormTwoStep Form = "two-step" // no option 43; the client asks again on 4011
	FormScript  Form = "script"   // to iPXE: the URL of its script, or of our iPXE
	FormHTTP    Form = "http"     // to UEFI HTTP Boot: the URL of the loader
	FormRPi     Form = "rpi"      // to a Raspberry Pi: its menu item
)

// Forms lists every form that is sent, for pre-created metrics.
func Forms() []Form { return []Form{FormDirect, FormTwoStep, FormScript, FormHTTP, FormRPi} }

// Valid says whether f may stand in a rule: only the two PXE styles can be chosen.
func (f Form) Valid() bool { return f == FormNone || f == FormDirect || f == FormTwoStep }

// Rule is what an operator has said about some machines. Empty match fields
// match everything; all given ones must match. The first matching rule counts.
type Rule struct {
	MAC        MAC       // this hardware address
	GUID       GUID      // this machine identifier, in either octet order
	Archs      []Arch    // one of these architectures
	File       string    // boot file (TFTP path, or URL with a scheme) instead of the default
	Form       Form      // FormDirect or FormTwoStep pins the PXE style
	As         *Arch     // take the client for this architecture
	Deny       bool      // never answer
	Why        Reason    // of Deny; ReasonNone means ReasonPolicy
	Snooze     time.Time // do not answer before this time ("boot from disk")
	NoPriority bool      // leave out iPXE's priority (175.1)
	Config     string    // option 209, for pxelinux (RFC 5071)
	Prefix     string    // option 210, for pxelinux (RFC 5071)
	// Delay of the answer. Some firmware misses instant replies. At most 1 s.
	Delay time.Duration
}

// Matches says whether the rule speaks about c.
func (r Rule) Matches(c Client) bool {
	if r.MAC != "" && r.MAC != c.MAC {
		return false
	}
	if !r.GUID.IsZero() && !r.GUID.Matches(c.GUID) {
		return false
	}
	if len(r.Archs) == 0 {
		return true
	}
	for _, a := range r.Archs {
		if c.ArchKnown && a == c.Arch {
			return true
		}
	}
	return false
}

// Policy is everything a decision depends on besides the client: what the
// operator said and what the box has to offer. It is immutable once in use.
type Policy struct {
	Rules      []Rule
	NoPriority bool   // leave out iPXE's priority (175.1) everywhere
	FirstForm  Form   // style that UEFI PXE clients are offered first; FormNone means DefaultForm
	BaseURL    string // instead of http://<our address>[:port]; no trailing slash
	HTTPPort   int    // port machines reach HTTP on; 0 and 80 are left out of URLs
	// Has says whether the box can serve the loader; nil means it has them all.
	Has func(file string) bool
	// Machines adds to the settings' rule (zero when there is none) what has been
	// decided about the machine: silence, or another first stage. Nil adds
	// nothing. It is called for every DHCP packet and must not block.
	Machines func(c Client, r Rule) Rule
	// Quirks is the shape that clients of this model are known to need; pinned
	// when the operator wants it and no other. Nil knows none. It is called for
	// every answer and must not block.
	Quirks func(c Client) (s Shape, pinned bool)
}

// DefaultForm is the style that a UEFI PXE client is offered first. Measured
// with OVMF 2022.11 and 2025.02: a direct offer saves the round to port 4011.
// EDK2 built from November 2010 to April 2017 throws direct offers away and
// asks again with the same xid after 4 s; that retry gets the other style.
const DefaultForm = FormDirect

// History is what the box remembers of one hardware address when it asks.
type History struct {
	XID    uint32        // transaction of the last PXE offer
	Form   Form          // style of the last PXE offer; FormNone when there was none
	Asked  bool          // since then it asked on 4011
	Loaded bool          // since then it fetched something by TFTP or HTTP
	Worked Form          // the style that last led to a download
	Age    time.Duration // since the last offer
	// Settled: the request follows an offer, so what was offered stays.
	Settled bool
	// Client of the last offer, for boot-server requests that leave out what
	// the DISCOVER said (Raspberry Pi 4, iPXE's menu request).
	Last Client

	now       time.Time
	addressed bool // since the last offer the site's DHCP server offered it an address
	option60  bool // and said in it that it is a boot server itself
	rounds    [programs]round
}

// RecentOffer is how long an offer vouches for a request that no longer says
// what the client is.
const RecentOffer = 60 * time.Second

// SamePacket is how long after an offer the same transaction is taken for the
// same packet that came a second way (two network cards of the box on one LAN,
// a relay beside the client), not for a retry: firmware waits for a second and
// more.
const SamePacket = 100 * time.Millisecond

// Decision is what a client is to be given, or why nothing.
type Decision struct {
	Reason     Reason // ReasonNone when the client is answered
	Form       Form
	File       string // TFTP path, or absolute URL; empty for FormRPi
	Stage1     bool   // File is a loader of ours: counts for the loop guard
	Priority   bool   // send 175.1 = 1
	NextServer bool   // FormRPi: say the TFTP server in option 66 too
	Config     string
	Prefix     string
	Delay      time.Duration
	Warning    Reason // something to tell the operator besides
	Shape      Shape  // how it differs from the box's default
	Move       Move   // why the shape is another one than before; zero when it is not

	ladder Ladder
	seed   Shape
}

// ScriptPath is the short path of the boot script: DHCP carries it, and
// firmware cuts long names.
const ScriptPath = "/b"

// Decide is the one decision of the boot path: what does this client get, seen
// from the address it reaches us on. It is pure; at is our address on the
// client's interface, now only matters to rules that end.
func Decide(c Client, p Policy, h History, at netip.Addr, now time.Time) Decision {
	rule := p.rule(c)
	if p.Machines != nil {
		rule = p.Machines(c, rule)
	}
	switch {
	case rule.Deny && rule.Why != ReasonNone:
		return Decision{Reason: rule.Why}
	case rule.Deny, now.Before(rule.Snooze):
		return Decision{Reason: ReasonPolicy}
	}
	arch, archKnown := c.Arch, c.ArchKnown
	if rule.As != nil {
		arch, archKnown = *rule.As, true
	}
	d := Decision{Delay: rule.Delay, Config: rule.Config, Prefix: rule.Prefix}
	pi := c.Firmware == FirmwareRPi && rule.As == nil || rule.As != nil && *rule.As == ArchRPIBoot
	if pi && rule.File == "" {
		d.Form, d.NextServer = FormRPi, true
		return d
	}
	file, loader := rule.File, ""
	info, _ := arch.Info()
	if archKnown {
		loader = info.Loader
	}
	native := nativeOf(loader)
	if isIPXE(file) {
		// A rule that names another build of iPXE is about the first stage. To
		// an iPXE that has no need of one it would be a loop.
		file, loader, native = "", file, ""
	}
	if file == "" && loader == "" {
		return Decision{Reason: ReasonArch}
	}
	o := p.open(c, rule, info.Platform, file == "" && native != "" && p.has(native))
	d.form(c, p, h, o)
	if d.Shape.Variant == VariantNative {
		loader = native
	}
	if c.Firmware == FirmwareIPXE {
		d.Form, d.Priority = FormScript, o.Priority && !d.Shape.NoPriority
		switch {
		case file != "":
			d.File = p.absolute(file, at, c.CanHTTP())
		case c.CanHTTP():
			d.File = p.URL(at) + ScriptPath
		default:
			d.File, d.Stage1 = "tftp://"+at.String()+"/"+loader, true
		}
		if d.Stage1 && !p.has(loader) {
			return Decision{Reason: ReasonNoLoader}
		}
		return d
	}
	if file == "" {
		file, d.Stage1 = loader, true
		if !p.has(file) {
			return Decision{Reason: ReasonNoLoader}
		}
	}
	if c.Class == ClassHTTP {
		d.Form, d.File = FormHTTP, p.absolute(file, at, true)
		if !hostIsAddress(d.File) {
			d.Warning = ReasonNameNeedsDNS
		}
		return d
	}
	d.File = file
	if d.Form = rule.Form; d.Form == FormNone {
		d.Form = o.style(d.Shape.Form)
	}
	return d
}

// isIPXE says whether a file of the box is a build of iPXE, by its name.
func isIPXE(file string) bool {
	if strings.Contains(file, "://") {
		return false
	}
	switch file[strings.LastIndexByte(file, '/')+1:] {
	case "undionly.kpxe", "undionly.kkpxe", "undionly.pxe", "ipxe.kpxe", "ipxe.pxe", "ipxe.efi", "snponly.efi", "snp.efi":
		return true
	}
	return false
}

// open says which shapes of answer there are for a client.
func (p Policy) open(c Client, rule Rule, platform Platform, native bool) Open {
	o := Open{First: FormDirect, Delay: rule.Delay == 0, Native: native}
	if platform == PlatformUEFI {
		if o.First = p.FirstForm; o.First == FormNone {
			o.First = DefaultForm
		}
	}
	switch c.Firmware {
	case FirmwareUEFI:
		o.Forms = rule.Form == FormNone && platform == PlatformUEFI
	case FirmwareBIOS:
		// Nearly every ROM wants the direct offer: the style is the last thing to
		// be changed.
		o.Forms, o.Early = rule.Form == FormNone && platform == PlatformBIOS, true
	case FirmwareIPXE:
		o.Delay, o.Priority = false, !p.NoPriority && !rule.NoPriority
	default:
	}
	return o
}

// form chooses the shape. What worked for this machine goes first, then what its
// model needs, then the default; a client that repeats its transaction, or comes
// back without having followed the last offer to a download, gets another one.
func (d *Decision) form(c Client, p Policy, h History, o Open) {
	fixed := false
	if p.Quirks != nil {
		d.seed, fixed = p.Quirks(c)
		d.seed.Form = o.plain(d.seed.Form)
	}
	d.ladder, d.Move = h.shape(c, d.seed, fixed, o)
	d.Shape = d.ladder.Shape
	// What a rule says, and what the box does not have, no shape changes.
	if !o.Forms {
		d.Shape.Form = FormNone
	}
	if !o.Delay {
		d.Shape.Delay = 0
	}
	if !o.Native {
		d.Shape.Variant = VariantDefault
	}
	if !o.Priority {
		d.Shape.NoPriority = false
	}
	if !h.Settled {
		d.Delay = max(d.Delay, d.Shape.Delay)
	}
}

func (f Form) other() Form {
	if f == FormDirect {
		return FormTwoStep
	}
	return FormDirect
}

// rule is the first of the settings' rules that speaks about c, else the zero
// Rule, which says nothing.
func (p Policy) rule(c Client) Rule {
	for _, r := range p.Rules {
		if r.Matches(c) {
			return r
		}
	}
	return Rule{}
}

func (p Policy) has(file string) bool { return p.Has == nil || p.Has(file) }

// URL is the address machines reach our HTTP server under, without a trailing
// slash: the configured base, or the literal address at. IP literals need no
// DNS, which a client before its operating system often does not have.
func (p Policy) URL(at netip.Addr) string {
	if p.BaseURL != "" {
		return p.BaseURL
	}
	if p.HTTPPort == 0 || p.HTTPPort == 80 {
		if at.Is6() {
			return "http://[" + at.String() + "]"
		}
		return "http://" + at.String()
	}
	return "http://" + netip.AddrPortFrom(at, uint16(p.HTTPPort)).String()
}

// absolute makes a URL of a file name unless it is one already.
func (p Policy) absolute(file string, at netip.Addr, http bool) string {
	switch {
	case strings.Contains(file, "://"):
		return file
	case http:
		return p.URL(at) + "/" + strings.TrimPrefix(file, "/")
	}
	return "tftp://" + at.String() + "/" + strings.TrimPrefix(file, "/")
}

// hostIsAddress says whether the URL's host is an IP literal.
func hostIsAddress(url string) bool {
	_, rest, ok := strings.Cut(url, "://")
	if !ok {
		return false
	}
	host, _, _ := strings.Cut(rest, "/")
	if _, err := netip.ParseAddrPort(host); err == nil {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// String says in one line what a decision gives, for logs and pages.
func (d Decision) String() string {
	if d.Reason != ReasonNone {
		return "silence: " + string(d.Reason)
	}
	return string(d.Form) + " " + strconv.Quote(d.File)
}
