package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// act answers for what can be done with a machine.
func (b *fakeBox) act(w http.ResponseWriter, r *http.Request, id, what string, body []byte) {
	m, ok := b.docs["machines"][id]
	if !ok {
		fail(w, 404, "not_found", "The machine does not exist.", nil)
		return
	}
	key := "machines/" + id
	in, err := decode(body)
	if err != nil && len(body) > 0 {
		fail(w, 400, "malformed", err.Error(), nil)
		return
	}
	switch what {
	case "assignment":
		b.assignment(w, r, m, key, in)
	case "observation":
		reply(w, 200, "", document{"machine": id, "macs": m["macs"], "seen": m["seen"]})
	case "preview":
		b.preview(w, r, m)
	case "merge":
		from, _ := in["from"].(string)
		other, ok := b.docs["machines"][from]
		if !ok {
			wrong(w, fieldFault{Field: "from", What: "there is no such machine"})
			return
		}
		m["macs"] = append(m["macs"].([]any), other["macs"].([]any)...)
		delete(b.docs["machines"], from)
		b.revs[key]++
		reply(w, 200, strconv.Itoa(b.revs[key]), m)
	case "split":
		b.machine("m9", document{"macs": []any{}}, document{})
		b.docs["machines"]["m9"]["split_of"] = nil
		delete(b.docs["machines"]["m9"], "split_of")
		for _, mac := range in["macs"].([]any) {
			b.docs["machines"]["m9"]["macs"] = append(b.docs["machines"]["m9"]["macs"].([]any), document{"mac": mac})
		}
		w.Header().Set("Location", "/api/v1/machines/m9")
		reply(w, 201, "1", b.docs["machines"]["m9"])
	}
}

func (b *fakeBox) assignment(w http.ResponseWriter, r *http.Request, m document, key string, in document) {
	had, exists := m["assignment"].(document)
	if r.Method == http.MethodGet {
		if !exists {
			fail(w, 404, "not_found", "It has no assignment.", nil)
			return
		}
		reply(w, 200, strconv.Itoa(b.revs[key]), had)
		return
	}
	if !b.condition(w, r, exists, strconv.Itoa(b.revs[key])) {
		return
	}
	b.revs[key]++
	if r.Method == http.MethodDelete {
		delete(m, "assignment")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	profile, _ := in["profile"].(string)
	p, ok := b.docs["profiles"][profile]
	if !ok {
		wrong(w, fieldFault{Field: "profile", What: "there is no profile " + profile})
		return
	}
	target, _ := p["target"].(string)
	if in["mode"] != "armed" && b.docs["targets"][target]["destructive"] == true {
		wrong(w, fieldFault{Field: "mode", What: "the target is destructive; want armed"})
		return
	}
	in["state"] = "waiting"
	if in["mode"] == "armed" {
		in["code"] = "K7Q2"
	}
	m["assignment"] = in
	if !exists {
		w.Header().Set("Location", r.URL.Path)
	}
	reply(w, map[bool]int{true: 200, false: 201}[exists], strconv.Itoa(b.revs[key]), in)
}

func (b *fakeBox) assignments(w http.ResponseWriter) {
	items := []any{}
	for _, id := range sortedNames(b.docs["machines"]) {
		m := b.docs["machines"][id]
		if a, ok := m["assignment"]; ok {
			items = append(items, document{"machine": id, "name": textAt(m, "name"), "rev": b.revs["machines/"+id], "assignment": a})
		}
	}
	reply(w, 200, "", document{"items": items})
}

func (b *fakeBox) preview(w http.ResponseWriter, r *http.Request, m document) {
	loaders := []string{"ipxe", "pxelinux", "grub"}
	if l := r.URL.Query().Get("loader"); l != "" {
		loaders = []string{l}
	}
	texts := []any{}
	for _, l := range loaders {
		t := document{"loader": l, "action": "boot", "text": "#!" + l + "\necho \x1b[2J\nboot"}
		if l == "grub" {
			t = document{"loader": l, "action": "boot", "reason": "needs_platform", "reason_text": "It needs UEFI."}
		}
		texts = append(texts, t)
	}
	reply(w, 200, "", document{
		"machine": m["id"], "base": "http://192.0.2.1",
		"choice": document{
			"machine": m["id"], "confidence": "full", "source": "machine", "profile": "p", "target": "debian", "action": "boot",
			"steps": []any{
				document{"source": "denied", "won": false, "why": "The machine is on no deny-list."},
				document{"source": "machine", "name": "p", "won": true, "why": "The machine is assigned p."},
			},
		},
		"plan": document{
			"title": "web01", "note": "By the operator's word.", "default": 1, "seconds": 10,
			"menu": []any{
				document{"title": "Install", "key": "i", "destructive": true, "disabled": "needs_memory", "disabled_text": "It needs more memory.", "detail": "2048 MiB"},
				document{"title": "Own disk", "key": "d"},
			},
		},
		"replies": []any{document{
			"to": "uefi", "form": "proxy", "file": "snponly.efi", "server": "192.0.2.1",
			"options": []any{document{"code": 60, "name": "vendor class", "value": "PXEClient"}},
		}},
		"texts":   texts,
		"answers": document{"preseed.cfg": document{"text": "d-i x\n", "content_type": "text/plain"}, "bad": document{"error": "line 1:2: no such variable"}},
	})
}

func (b *fakeBox) requests(w http.ResponseWriter, parts []string, body []byte) {
	if len(parts) == 1 {
		reply(w, 200, "", document{"items": b.hold})
		return
	}
	for i, r := range b.hold {
		if r["code"] != parts[1] {
			continue
		}
		in, err := decode(body)
		if _, ok := in["allow"].(bool); err != nil || !ok {
			wrong(w, fieldFault{Field: "allow", What: "want true or false"})
			return
		}
		b.hold = append(b.hold[:i], b.hold[i+1:]...)
		b.asked = append(b.asked, "answer "+string(body))
		w.WriteHeader(http.StatusNoContent)
		return
	}
	fail(w, 404, "not_found", "There is no such request.", nil)
}

func (b *fakeBox) decisions(w http.ResponseWriter, r *http.Request) {
	items := []any{}
	for _, id := range []string{"m2", "m1"} {
		if want := r.URL.Query().Get("machine"); want != "" && want != id {
			continue
		}
		items = append(items, document{
			"time": boxTime.Format(time.RFC3339), "machine": id, "loader": "ipxe",
			"choice": document{
				"machine": id, "confidence": "weak", "source": "rule", "profile": "p", "action": "boot",
				"steps": []any{document{"source": "rule", "name": "r", "won": true, "why": "Rule r matches: the vendor is QEMU."}},
			},
		})
	}
	reply(w, 200, "", document{"items": items})
}

func (b *fakeBox) tree(w http.ResponseWriter, r *http.Request, parts []string, body []byte) {
	if len(parts) == 1 {
		items := []any{}
		for _, name := range sortedNames(b.trees) {
			items = append(items, b.trees[name])
		}
		reply(w, 200, "", document{"items": items})
		return
	}
	name := parts[1]
	had, exists := b.trees[name]
	tag, _ := had["sha256"].(string)
	switch {
	case r.Method == http.MethodGet && exists:
		reply(w, 200, tag, had)
		return
	case r.Method == http.MethodGet:
		fail(w, 404, "not_found", "The tree does not exist.", nil)
		return
	case !b.condition(w, r, exists, tag):
		return
	case r.Method == http.MethodDelete:
		delete(b.trees, name)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	files, bad, err := unpack(r.Header.Get("Content-Type"), body)
	if err != nil {
		fail(w, 422, "archive", err.Error(), document{"errors": []fieldFault{{Field: bad, What: err.Error()}}})
		return
	}
	sum := sha256.Sum256(body)
	t := document{
		"name": name, "files": files, "bytes": len(body), "added": boxTime.Format(time.RFC3339),
		"sha256": hex.EncodeToString(sum[:]), "programs": []string{"pxelinux.0"},
	}
	b.trees[name] = t
	reply(w, map[bool]int{true: 200, false: 201}[exists], hex.EncodeToString(sum[:]), t)
}

// unpack counts the entries of an archive; one with ".." is refused by name.
func unpack(media string, body []byte) (files int, bad string, err error) {
	var in io.Reader = bytes.NewReader(body)
	if media == "application/gzip" {
		if in, err = gzip.NewReader(in); err != nil {
			return 0, "(archive)", err
		}
	}
	t := tar.NewReader(in)
	for {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return files, "", nil
		case err != nil:
			return 0, "(archive)", err
		case strings.Contains(h.Name, ".."):
			return 0, h.Name, errors.New("leads out of the tree")
		}
		files++
	}
}

func (b *fakeBox) export(w http.ResponseWriter) {
	all := document{}
	for kind, docs := range b.docs {
		list := []any{}
		for _, name := range sortedNames(docs) {
			list = append(list, docs[name])
		}
		all[kind] = list
	}
	w.Header().Set("Content-Type", "application/yaml")
	raw, err := json.Marshal(all)
	if err == nil {
		err = writeYAML(w, raw)
	}
	if err != nil {
		b.t.Error(err)
	}
}

// load takes targets only: each needs a kind.
func (b *fakeBox) load(w http.ResponseWriter, r *http.Request, body []byte) {
	var file struct {
		Targets []yaml.Node `yaml:"targets"`
	}
	if err := yaml.Unmarshal(body, &file); err != nil {
		wrong(w, fieldFault{File: "import", Line: 1, What: err.Error()})
		return
	}
	faults, changes := []fieldFault{}, []document{}
	targets := map[string]document{}
	for i, n := range file.Targets {
		var d document
		if err := n.Decode(&d); err != nil {
			b.t.Error(err)
		}
		name, _ := d["name"].(string)
		for _, f := range b.check("targets", d) {
			faults = append(faults, fieldFault{File: "import", Line: n.Line, Field: fmt.Sprintf("targets[%d].%s", i, f.Field), What: f.What})
		}
		targets[name] = d
		if had := b.docs["targets"][name]; had == nil || had["kind"] != d["kind"] {
			changes = append(changes, document{"document": "targets/" + name, "text": fmt.Sprintf("kind: %q → %q", textAt(had, "kind"), d["kind"])})
		}
	}
	if len(faults) > 0 {
		wrong(w, faults...)
		return
	}
	dry := r.URL.Query().Get("dry") == "1"
	if !dry {
		b.docs["targets"] = targets
		b.imports++
	}
	reply(w, 200, "", document{"applied": !dry, "differences": changes})
}
