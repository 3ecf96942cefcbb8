package appliance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootpuck/bootpuck/appliance/boot"
	"github.com/bootpuck/bootpuck/appliance/health"
	"github.com/bootpuck/bootpuck/appliance/settings"
)

// call is a request to the API with the box's own token.
func (s *site) call(t *testing.T, method, path, ctype, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.box.Addresses().Admin.String()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.box.keeper.apiToken())
	if body != "" {
		req.Header.Set("Content-Type", ctype)
	}
	switch {
	case method == http.MethodPut && path == "/api/v1/settings":
		req.Header.Set("If-Match", "*") // there always is one
	case method == http.MethodPut:
		req.Header.Set("If-None-Match", "*")
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(data)
}

func (s *site) put(t *testing.T, path, doc string) {
	t.Helper()
	if code, body := s.call(t, http.MethodPut, "/api/v1/"+path, "application/json", doc); code/100 != 2 {
		t.Fatalf("PUT %s: %d %s", path, code, body)
	}
}

// archive is a tar.gz of files by their names.
func archive(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestMachineThroughTheWholeBox: what is decided by the API reaches the machine
// by HTTP and TFTP, in the language of the program that asks, and survives a
// restart.
func TestMachineThroughTheWholeBox(t *testing.T) {
	dir := t.TempDir()
	s := start(t, func(d *settings.Document) { d.State = dir })
	if code, body := s.call(t, http.MethodPut, "/api/v1/trees/debian", "application/gzip", archive(t, map[string]string{
		"linux": "a kernel", "pxelinux.0": "px", "own/pxelinux.0": "px", "own/pxelinux.cfg/default": "the tree's own",
	})); code/100 != 2 {
		t.Fatalf("upload: %d %s", code, body)
	}
	s.put(t, "targets/debian", `{"name":"debian","kind":"linux","tree":"debian","kernel":"linux","initrds":["linux"],"cmdline":"host={{.Machine.Name}} rack={{.Vars.rack}} quiet"}`)
	s.put(t, "profiles/debian", `{"name":"debian","target":"debian","variables":{"rack":"7"}}`)
	s.put(t, "targets/px", `{"name":"px","kind":"pxelinux","tree":"debian","program":"own/pxelinux.0"}`)
	s.put(t, "profiles/px", `{"name":"px","target":"px"}`)
	s.put(t, "machines/web1", `{"id":"web1","name":"web1","macs":[{"mac":"52:54:00:12:34:56","given":true}]}`)
	s.put(t, "machines/web2", `{"id":"web2","name":"web2","macs":[{"mac":"52:54:00:12:34:57","given":true}]}`)
	s.put(t, "machines/web1/assignment", `{"profile":"debian","mode":"always"}`)
	s.put(t, "machines/web2/assignment", `{"profile":"px","mode":"always"}`)

	web := s.box.Addresses().HTTP.String()
	script := func(addr string) {
		t.Helper()
		code, text := fetch(t, addr, "/s?mac=52:54:00:12:34:56&platform=efi&buildarch=x86_64&version=2.0.0&memory=4096")
		for _, want := range []string{"#!ipxe\n", "/trees/debian/linux", "host=web1 rack=7 quiet"} {
			if code != http.StatusOK || !strings.Contains(text, want) {
				t.Errorf("web1's script lacks %q: %d\n%s", want, code, text)
			}
		}
	}
	script(web)
	if code, text := fetch(t, web, "/trees/debian/linux"); code != http.StatusOK || text != "a kernel" {
		t.Errorf("the tree by HTTP: %d %q", code, text)
	}
	if text, err := s.tftp(t, "trees/debian/linux"); err != nil || text != "a kernel" {
		t.Errorf("the tree by TFTP: %q, %v", text, err)
	}
	// Another machine gets the menu.
	if _, text := fetch(t, web, "/s?mac=52:54:00:00:00:99&platform=pcbios"); strings.Contains(text, "rack=7") || !strings.Contains(text, "menu") {
		t.Errorf("another machine's script:\n%s", text)
	}
	// pxelinux by either way, by the machine's hardware address.
	for _, by := range []func(name string) string{
		func(name string) string { _, text := fetch(t, web, "/"+name); return text },
		func(name string) string { text, _ := s.tftp(t, name); return text },
	} {
		if text := by("pxelinux/pxelinux.cfg/01-52-54-00-12-34-56"); !strings.Contains(strings.ToLower(text), "trees/debian/linux") || !strings.Contains(text, "host=web1 rack=7 quiet") {
			t.Errorf("pxelinux's configuration for web1:\n%s", text)
		}
		// A folder with a configuration of its own is served as it is.
		if text := by("trees/debian/own/pxelinux.cfg/01-52-54-00-12-34-57"); strings.Contains(strings.ToLower(text), "default") {
			t.Errorf("a configuration in the place of the tree's own:\n%s", text)
		}
		if text := by("trees/debian/own/pxelinux.cfg/default"); text != "the tree's own" {
			t.Errorf("the tree's own configuration: %q", text)
		}
	}
	if text, err := s.tftp(t, "grub/grub.cfg-01-52-54-00-12-34-56"); err != nil || !strings.Contains(text, "trees/debian/linux") {
		t.Errorf("GRUB's configuration: %v\n%s", err, text)
	}
	previewed(t, s)
	sensitive(t, s, web)
	if code, body := s.call(t, http.MethodDelete, "/api/v1/trees/debian", "", ""); code != http.StatusConflict {
		t.Errorf("a tree in use was deleted: %d %s", code, body)
	}

	// All of it is there again after a restart.
	s.stop()
	s = start(t, func(d *settings.Document) { d.State = dir })
	script(s.box.Addresses().HTTP.String())
	if n := part(s, "machines"); n.Reason != boot.ReasonNone {
		t.Errorf("health: %+v", n)
	}
}

// part is one node of the health tree.
func part(s *site, name string) (found health.Report) {
	s.box.Health().Walk(func(r health.Report) {
		if r.Name == name {
			found = r
		}
	})
	return found
}

// previewed: a preview shows what the machine then gets.
func previewed(t *testing.T, s *site) {
	t.Helper()
	code, body := s.call(t, http.MethodGet, "/api/v1/machines/web1/preview", "", "")
	var p struct {
		Replies []struct{ To, Reason, Form, File string }
		Texts   []struct{ Loader, Text string }
		Choice  boot.Choice
	}
	if err := json.Unmarshal([]byte(body), &p); code != http.StatusOK || err != nil {
		t.Fatalf("preview: %d %v %s", code, err, body)
	}
	if p.Choice.Profile != "debian" || p.Choice.Source != boot.SourceMachine || len(p.Choice.Steps) == 0 {
		t.Errorf("choice %+v", p.Choice)
	}
	var to []string
	for _, r := range p.Replies {
		to = append(to, r.To+" "+r.Form+" "+r.File)
	}
	if got := strings.Join(to, "; "); !strings.Contains(got, "uefi direct x86_64/snponly.efi") || !strings.Contains(got, "ipxe script http://") {
		t.Errorf("DHCP replies: %s\n%s", got, body)
	}
	if len(p.Texts) != 3 || !strings.Contains(p.Texts[0].Text, "host=web1 rack=7 quiet") {
		t.Errorf("texts: %+v", p.Texts)
	}
}

// sensitive: what is meant for one machine alone is not given to a sender that
// nobody has seen to be that machine.
func sensitive(t *testing.T, s *site, web string) {
	t.Helper()
	s.put(t, "templates/seed", `{"name":"seed","kind":"preseed","text":"d-i passwd/root-password password hush\n"}`)
	s.put(t, "targets/wipe", `{"name":"wipe","kind":"linux","tree":"debian","kernel":"linux","destructive":true,"cmdline":"url={{answer \"preseed.cfg\"}}"}`)
	s.put(t, "profiles/wipe", `{"name":"wipe","target":"wipe","answers":{"preseed.cfg":"seed"}}`)
	s.put(t, "machines/web3", `{"id":"web3","name":"web3","macs":[{"mac":"52:54:00:12:34:58","given":true}]}`)
	if code, body := s.call(t, http.MethodPut, "/api/v1/machines/web3/assignment", "application/json", `{"profile":"wipe","mode":"always"}`); code != http.StatusUnprocessableEntity && code != http.StatusBadRequest {
		t.Errorf("a destructive target was assigned for ever: %d %s", code, body)
	}
	s.put(t, "machines/web3/assignment", `{"profile":"wipe","mode":"armed"}`)
	_, text := fetch(t, web, "/s?mac=52:54:00:12:34:58&platform=efi&buildarch=x86_64")
	if strings.Contains(text, "/x/") || strings.Contains(text, "trees/debian/linux") || strings.Contains(text, "/a/") {
		t.Errorf("an unproven sender got the installation:\n%s", text)
	}
	for _, path := range []string{"/a/preview/preseed.cfg", "/a//preseed.cfg", "/a/aaaaaaaaaaaaaaaaaaaaaaaaaa/preseed.cfg", "/x/preview", "/cb/preview/done"} {
		code, text := fetch(t, web, path)
		if strings.Contains(text, "hush") || strings.Contains(text, "trees/debian/linux") || strings.HasPrefix(path, "/cb/") && code == http.StatusOK {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	_, body := s.call(t, http.MethodGet, "/api/v1/machines/web3/assignment", "", "")
	if !strings.Contains(body, `"waiting"`) {
		t.Errorf("the assignment was used up by a stranger: %s", body)
	}
	_, body = s.call(t, http.MethodGet, "/api/v1/decisions", "", "")
	if !strings.Contains(body, string(boot.ReasonIdentityUnproven)) {
		t.Errorf("the decision does not say why: %.2000s", body)
	}
}

// TestSight: DHCP packets of machines that want to boot make them known to the
// operator, other packets do not.
func TestSight(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	for i, c := range []struct {
		event boot.Event
		want  bool
	}{
		{boot.Event{Kind: boot.KindOffer}, true},
		{boot.Event{Kind: boot.KindAck}, true},
		{boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonUnknownIgnored}, true},
		{boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonArch}, true},
		{boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonClass}, false},
		{boot.Event{Kind: boot.KindSilence, Reason: boot.ReasonRate}, false},
		{boot.Event{Kind: boot.KindLease}, false},
		{boot.Event{Kind: boot.KindHTTP}, false},
	} {
		mac := boot.MACOf([]byte{2, 0, 0, 0, 1, byte(i)})
		c.event.MAC, c.event.Time = mac, time.Now()
		s.box.Record(c.event)
		_, body := s.call(t, http.MethodGet, "/api/v1/machines?limit=500", "", "")
		if got := strings.Contains(body, string(mac)); got != c.want {
			t.Errorf("%s %s: recorded %v", c.event.Kind, c.event.Reason, got)
		}
	}
}

// TestAsk: what the box has seen of a sender goes before what it says.
func TestAsk(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	const mine, other = boot.MAC("02:00:00:00:02:01"), boot.MAC("02:00:00:00:02:02")
	addr := netip.MustParseAddr("198.51.100.7")
	s.box.memory.Asked(mine, addr)
	for _, c := range []struct {
		claim boot.MAC
		from  netip.Addr
		proof boot.Proof
		mac   boot.MAC
	}{
		{mine, addr, boot.ProofSeen, mine},
		{other, addr, boot.ProofAgainst, other},
		{"", addr, boot.ProofSeen, mine},
		{mine, netip.MustParseAddr("198.51.100.8"), boot.ProofNone, mine},
		{mine, netip.MustParseAddr("127.0.0.1"), boot.ProofNone, mine},
	} {
		a := s.box.ask(boot.Sighting{MAC: c.claim}, c.from, "http://192.0.2.2", "ipxe")
		if a.Proof != c.proof || a.Sighting.MAC != c.mac || a.Routed != (c.from.String() != "127.0.0.1") || a.Sighting.Addr != c.from {
			t.Errorf("%q from %s: %+v", c.claim, c.from, a)
		}
	}
}

// TestAPIToken: made once, an operator's own is taken, and a bad one is named.
func TestAPIToken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), tokenName)
	token, err := apiToken(path)
	if err != nil || len(token) < 20 {
		t.Fatalf("%q, %v", token, err)
	}
	if again, err := apiToken(path); err != nil || again != token {
		t.Errorf("%q after %q, %v", again, token, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil { // a power cut
		t.Fatal(err)
	}
	if again, err := apiToken(path); err != nil || len(again) < 20 || again == token {
		t.Errorf("after a power cut: %q, %v", again, err)
	}
	for text, good := range map[string]bool{"0123456789abcdef\n": true, "short": false, "two words and more of them": false, strings.Repeat("x", 300): false} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := apiToken(path); (err == nil) != good || good && got != strings.TrimSpace(text) {
			t.Errorf("%.30q: %q, %v", text, got, err)
		}
	}
}

// TestStoreSetAside: a damaged state file is set aside and said, and the box
// works on.
func TestStoreSetAside(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, storeName), bytes.Repeat([]byte("no database "), 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, func(d *settings.Document) { d.State = dir })
	if n := part(s, "machines"); n.Reason != boot.ReasonStoreCorrupt {
		t.Errorf("health: %+v", n)
	}
	s.put(t, "groups/a", `{"name":"a"}`)
	old, err := filepath.Glob(filepath.Join(dir, storeName+"*"))
	if err != nil || len(old) < 2 {
		t.Errorf("in the state directory: %v, %v", old, err)
	}
}

// TestClean: what installers say is cut and printable.
func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a\nb\x1b[31mc": "a b [31mc", "  x  ": "x", "\u202eabc": "abc", strings.Repeat("y", 2000): strings.Repeat("y", maxSaid), "\xff": "",
	} {
		if got := clean(in, maxSaid); got != want {
			t.Errorf("clean(%.20q) = %.40q", in, got)
		}
	}
	for raw, want := range map[string]string{
		"text=a%20b": "a b", "x=1&text=c+d": "c d", "text=%zz": "", "": "", "text": "", strings.Repeat("a=b&", 20) + "text=late": "",
	} {
		if got := queryValue(raw, "text", 64); got != want {
			t.Errorf("queryValue(%.30q) = %q", raw, got)
		}
	}
}

// TestAwait: a UEFI machine that has its boot program and says nothing more is
// told of; one that goes on is not.
func TestAwait(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	now := time.Now()
	loader := func(mac boot.MAC, arch boot.Arch) boot.Event {
		return boot.Event{Time: now, Kind: boot.KindTFTP, MAC: mac, Arch: arch, ArchKnown: true, File: "x86_64/snponly.efi", Bytes: 4000}
	}
	for _, c := range []struct {
		mac   boot.MAC
		arch  boot.Arch
		after *boot.Event
		want  bool
	}{
		{"02:00:00:00:03:01", boot.ArchUEFIx64, nil, true},
		{"02:00:00:00:03:02", boot.ArchUEFIx64, &boot.Event{Kind: boot.KindOffer, Firmware: boot.FirmwareIPXE}, false},
		{"02:00:00:00:03:03", boot.ArchUEFIx64, &boot.Event{Kind: boot.KindScript, File: "autoexec.ipxe"}, false},
		{"02:00:00:00:03:04", boot.ArchUEFIx64, &boot.Event{Kind: boot.KindOffer, Firmware: boot.FirmwareHTTP}, true},
		{"02:00:00:00:03:05", boot.ArchBIOS, nil, false},
		{"02:00:00:00:03:06", boot.ArchUEFIx64, &boot.Event{Kind: boot.KindTFTP, File: "x86_64/grubx64.efi", Bytes: 1}, false},
	} {
		s.box.Record(loader(c.mac, c.arch))
		if c.after != nil {
			c.after.MAC, c.after.Time = c.mac, now
			s.box.Record(*c.after)
		}
		found := false
		for _, e := range s.box.awaiting.Silent(now.Add(boot.StartTime)) {
			found = found || e.MAC == c.mac && e.Reason == boot.ReasonNotStarted
		}
		if found != c.want {
			t.Errorf("%s: told of: %v", c.mac, found)
		}
	}
}

// TestImportErrors: what is wrong with an import file is told with its line,
// whoever found it, and nothing is changed.
func TestImportErrors(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	const head = "version: 1\ntargets:\n  - name: a\n    kind: linux\n"
	for body, want := range map[string]string{
		head + "    kernal: x\n":  "line\": 5",
		head + "    cmdline: x\n": "line\": 3", // a kernel is missing: the document's own line
		head + "    kernel: files/x\nprofiles:\n  - name: p\n    target: nowhere\n": "line\": 8",
	} {
		code, text := s.call(t, http.MethodPost, "/api/v1/import", "application/yaml", body)
		if code != http.StatusUnprocessableEntity || !strings.Contains(text, want) {
			t.Errorf("%q: %d %s", body, code, text)
		}
	}
	if _, text := s.call(t, http.MethodGet, "/api/v1/targets", "", ""); strings.Contains(text, `"a"`) {
		t.Errorf("something was kept: %s", text)
	}
}

// TestUnknownAsks: a machine that nobody knows waits on its screen, and boots
// when the operator lets it.
func TestUnknownAsks(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	if code, body := s.call(t, http.MethodPut, "/api/v1/settings", "application/json", `{"unknown":"ask"}`); code/100 != 2 {
		t.Fatalf("%d %s", code, body)
	}
	web := s.box.Addresses().HTTP.String()
	_, text := fetch(t, web, "/s?mac=52:54:00:00:00:77&platform=pcbios&buildarch=i386&version=2.0.0")
	_, rest, ok := strings.Cut(text, "/w/")
	if !ok {
		t.Fatalf("it does not wait:\n%s", text)
	}
	token := strings.Fields(rest)[0]
	if _, again := fetch(t, web, "/w/"+token); again != text {
		t.Errorf("asked again while nobody has decided:\n%s", again)
	}
	var list struct {
		Items []struct {
			Code string
			Seen struct{ MAC string }
		}
	}
	_, body := s.call(t, http.MethodGet, "/api/v1/requests", "", "")
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Items) != 1 || list.Items[0].Seen.MAC != "52:54:00:00:00:77" {
		t.Fatalf("%v %s", err, body)
	}
	if !strings.Contains(text, list.Items[0].Code) {
		t.Errorf("the screen does not show %s:\n%s", list.Items[0].Code, text)
	}
	if code, body := s.call(t, http.MethodPost, "/api/v1/requests/"+list.Items[0].Code, "application/json", `{"allow":true}`); code/100 != 2 {
		t.Fatalf("%d %s", code, body)
	}
	if _, text := fetch(t, web, "/w/"+token); !strings.Contains(text, "\nmenu ") {
		t.Errorf("after the operator let it:\n%s", text)
	}
}

// TestTreesOwnConfiguration: a folder's own pxelinux.cfg/default starts nothing
// that was decided against.
func TestTreesOwnConfiguration(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	if code, body := s.call(t, http.MethodPut, "/api/v1/trees/auto", "application/gzip", archive(t, map[string]string{
		"pxelinux.0": "px", "pxelinux.cfg/default": "DEFAULT wipe",
	})); code/100 != 2 {
		t.Fatalf("upload: %d %s", code, body)
	}
	s.put(t, "targets/auto", `{"name":"auto","kind":"pxelinux","tree":"auto","program":"pxelinux.0","destructive":true}`)
	s.put(t, "profiles/auto", `{"name":"auto","target":"auto","loader":"pxelinux"}`)
	s.put(t, "machines/a", `{"id":"a","name":"a","macs":[{"mac":"52:54:00:00:0a:01","given":true}]}`)
	s.put(t, "machines/b", `{"id":"b","name":"b","access":"deny","macs":[{"mac":"52:54:00:00:0a:02","given":true}]}`)
	s.put(t, "machines/a/assignment", `{"profile":"auto","mode":"armed"}`)
	web := s.box.Addresses().HTTP.String()
	for _, name := range []string{"01-52-54-00-00-0a-01", "01-52-54-00-00-0a-02"} {
		// The one is armed, but nobody has seen that the sender is this machine;
		// the other is on the deny-list.
		code, text := fetch(t, web, "/trees/auto/pxelinux.cfg/"+name)
		if code != http.StatusOK || strings.Contains(text, "wipe") || !strings.Contains(strings.ToLower(text), "localboot") {
			t.Errorf("%s: %d\n%s", name, code, text)
		}
	}
	// A machine that nobody has decided about gets what lies there.
	if code, _ := fetch(t, web, "/trees/auto/pxelinux.cfg/01-52-54-00-00-0a-03"); code != http.StatusNotFound {
		t.Errorf("an unknown machine's own name: %d", code)
	}
}

func TestAsItIs(t *testing.T) {
	t.Parallel()
	px := boot.Target{Kind: boot.TargetPXELinux}
	for _, c := range []struct {
		action boot.Action
		target boot.Target
		reason boot.Reason
		want   bool
	}{
		{boot.ActionBoot, px, "", true},
		{boot.ActionArmed, px, "", true},
		{boot.ActionMenu, boot.Target{}, "", true},
		{boot.ActionMenu, boot.Target{}, boot.ReasonIdentityAgainst, false},
		{boot.ActionBoot, boot.Target{Kind: boot.TargetPXELinux, Script: "x"}, "", false},
		{boot.ActionBoot, boot.Target{Kind: boot.TargetLinux}, "", false},
		{boot.ActionLocal, px, "", false},
		{boot.ActionLocal, px, boot.ReasonLoopBreaker, false},
		{boot.ActionSilent, px, boot.ReasonDenied, false},
		{boot.ActionAsk, px, "", false},
	} {
		if got := asItIs(boot.Plan{Target: c.target, Choice: boot.Choice{Action: c.action, Reason: c.reason}}); got != c.want {
			t.Errorf("%s %s %s: %v", c.action, c.target.Kind, c.reason, got)
		}
	}
}

// TestGRUBIsAnsweredInItsLanguage: what GRUB's own texts lead to is GRUB's, also
// when it is refused.
func TestGRUBIsAnsweredInItsLanguage(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	s.put(t, "targets/k", `{"name":"k","kind":"linux","kernel":"files/linux"}`)
	s.put(t, "profiles/k", `{"name":"k","target":"k","title":"A kernel"}`)
	web := s.box.Addresses().HTTP.String()
	_, text := fetch(t, web, "/grub/grub.cfg-01-52-54-00-00-0b-01")
	i := strings.Index(text, "/m/")
	if i < 0 {
		t.Fatalf("no menu:\n%s", text)
	}
	token, _, _ := strings.Cut(text[i+len("/m/"):], "/")
	for path, want := range map[string]string{
		"/m/" + token + "/0?loader=grub":                  "linux $box'/files/linux'",
		"/m/aaaaaaaaaaaaaaaaaaaaaaaaaa/0?loader=grub":     "has expired",
		"/x/aaaaaaaaaaaaaaaaaaaaaaaaaa?loader=grub":       "has expired",
		"/w/aaaaaaaaaaaaaaaaaaaaaaaaaa?loader=grub":       "has expired",
		"/x/aaaaaaaaaaaaaaaaaaaaaaaaaa?loader=somewhat":   "#!ipxe",
		"/m/aaaaaaaaaaaaaaaaaaaaaaaaaa/0?other=x&loader=": "#!ipxe",
	} {
		code, text := fetch(t, web, path)
		flat := strings.Join(strings.Fields(strings.ReplaceAll(text, "echo '", "")), " ")
		if code != http.StatusOK || !strings.Contains(flat, want) || strings.Contains(path, "loader=grub") == strings.Contains(text, "#!ipxe") {
			t.Errorf("%s: %d\n%s", path, code, text)
		}
	}
}

// TestObserveHandsOutNothing: in observe mode no machine gets a script, and
// nothing counts as a boot.
func TestObserveHandsOutNothing(t *testing.T) {
	t.Parallel()
	s := start(t, func(d *settings.Document) { d.Observe = true })
	web := s.box.Addresses().HTTP.String()
	for _, path := range []string{
		"/s?mac=52:54:00:00:0c:01", "/x/aaaaaaaaaaaaaaaaaaaaaaaaaa", "/pxelinux.cfg/01-52-54-00-00-0c-01", "/grub/grub.cfg",
		"/a/aaaaaaaaaaaaaaaaaaaaaaaaaa/x", "/cb/aaaaaaaaaaaaaaaaaaaaaaaaaa/done", "/m/aaaaaaaaaaaaaaaaaaaaaaaaaa/0",
	} {
		if code, text := fetch(t, web, path); code != http.StatusServiceUnavailable || strings.Contains(text, "#!ipxe") {
			t.Errorf("%s: %d\n%s", path, code, text)
		}
	}
	if _, body := s.call(t, http.MethodGet, "/api/v1/machines", "", ""); strings.Contains(body, "52:54:00:00:0c") {
		t.Errorf("a machine was recorded: %s", body)
	}
}

// TestFetchFrom: lpxelinux.0 fetches by HTTP, pxelinux.0 the way it came.
func TestFetchFrom(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ folder, program, want string }{
		{"pxelinux", "", "http"},
		{"pxelinux", "pxelinux/lpxelinux.0", "http"},
		{"pxelinux", "pxelinux/pxelinux.0", "tftp"},
		{"trees/debian", "", "tftp"},
		{"trees/debian", "trees/debian/pxelinux.0", "tftp"},
		{"files", "files/lpxelinux.0", "http"},
	} {
		if got := fetchFrom(c.folder, boot.Plan{Target: boot.Target{Program: c.program}}, "http", "tftp"); got != c.want {
			t.Errorf("%s %s: by %s", c.folder, c.program, got)
		}
	}
}

// TestAskAcrossABridge: where the wire says otherwise than the DHCP exchange, it
// speaks neither for the sender nor against it; against one whose exchange nobody
// heard, it does.
func TestAskAcrossABridge(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	const mine, bridge = boot.MAC("02:00:00:00:04:01"), boot.MAC("02:00:00:00:04:ff")
	behind, silent := netip.MustParseAddr("198.51.100.17"), netip.MustParseAddr("198.51.100.18")
	s.box.neighbours = newNeighbours(func(netip.Addr) (boot.MAC, bool, bool) { return bridge, true, true }, time.Now)
	s.box.memory.Asked(mine, behind)
	for _, c := range []struct {
		claim boot.MAC
		from  netip.Addr
		proof boot.Proof
	}{
		{mine, behind, boot.ProofNone},
		{mine, silent, boot.ProofAgainst},
		{bridge, behind, boot.ProofSeen},
		{"02:00:00:00:04:02", behind, boot.ProofAgainst},
	} {
		if a := s.box.ask(boot.Sighting{MAC: c.claim}, c.from, "http://192.0.2.2", "ipxe"); a.Proof != c.proof || a.Routed {
			t.Errorf("%s from %s: %+v", c.claim, c.from, a)
		}
	}
}
