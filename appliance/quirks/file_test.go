package quirks

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// keyOfTest is a key made of one octet.
func keyOfTest(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

var (
	siteKey = keyOfTest(1)
	trusted = []ed25519.PublicKey{keyOfTest(9).Public().(ed25519.PublicKey), siteKey.Public().(ed25519.PublicKey)}
)

// sample is a book with models of every sort.
func sample(t testing.TB) *book {
	t.Helper()
	b := newBook(0)
	b.Worked(class, oui, "Optiplex <7010> & \"co\" \u2028 é", twoStep, true)
	b.Worked("dropped", oui, "", late, true)
	b.Failed("dropped", oui, "", late)
	b.Failed("dropped", oui, "", late)
	if _, err := b.PinModel("", "00:16:3e", "", boot.Shape{Block: 1024, NoPriority: true}, "behind the tunnel"); err != nil {
		t.Fatal(err)
	}
	return b
}

func export(t testing.TB, b *book, key ed25519.PrivateKey) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := b.Export(&out, key); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// resign changes a file and signs it anew.
func resign(t testing.TB, data []byte, change func(map[string]any)) []byte {
	t.Helper()
	members, err := decode(data)
	if err != nil {
		t.Fatal(err)
	}
	delete(members, "signature")
	change(members)
	signed, err := canonical(members)
	if err != nil {
		t.Fatal(err)
	}
	if _, there := members["signature"]; !there {
		members["signature"] = base64.StdEncoding.EncodeToString(ed25519.Sign(siteKey, signed))
	}
	out, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestExportImport(t *testing.T) {
	data := export(t, sample(t), siteKey)
	if !bytes.HasSuffix(data, []byte("}\n")) || !json.Valid(data) {
		t.Fatalf("%s", data)
	}
	b := newBook(0)
	list, err := b.Import(data, trusted)
	if err != nil || len(list) != 2 || !slices.IsSortedFunc(list, func(x, y Difference) int { return strings.Compare(x.Document, y.Document) }) {
		t.Fatalf("%+v %v", list, err)
	}
	texts := fmt.Sprint(list)
	for _, want := range []string{"quirks/" + ID("", "00:16:3e", ""), "network cards 00:16:3e: new, TFTP blocks of at most 1024, without 175.1", ": new, two-step offer", `\u2028`} {
		if !strings.Contains(texts, want) {
			t.Errorf("%s does not say %s", texts, want)
		}
	}
	m, ok := b.Get(ID("", "00:16:3e", ""))
	if !ok || m.Pinned || m.Worked != 1 || m.Note != "behind the tunnel" || !m.Used() || m.First.IsZero() || m.First != m.Last {
		t.Errorf("%+v: a pin does not travel, but it counts as learned", m)
	}
	if got := b.shape("any", "00:16:3e", ""); got.Block != 1024 {
		t.Errorf("%v", got)
	}
	if len(b.told) != 1 || b.told[0].Kind != boot.KindOperator || b.told[0].Text != "a quirk file was imported: 2 models taken over" {
		t.Errorf("%+v", b.told)
	}
	// Once more changes nothing.
	if list, err = b.Import(data, trusted); err != nil || len(list) != 0 || len(b.told) != 1 {
		t.Errorf("%+v %v", list, err)
	}
	// Sent on by another box it is that box's.
	if _, err = newBook(0).Import(export(t, b, keyOfTest(9)), trusted); err != nil {
		t.Error(err)
	}
}

func TestImportBesideWhatIsKnown(t *testing.T) {
	data := export(t, sample(t), siteKey)
	b := newBook(0)
	if _, err := b.PinModel("", "00:16:3e", "", late, "ours"); err != nil {
		t.Fatal(err)
	}
	product := "Optiplex <7010> & \"co\" \u2028 é"
	b.Worked(class, oui, product, late, true)
	list, err := b.Import(data, trusted)
	texts := fmt.Sprint(list)
	if err != nil || len(list) != 2 || !strings.Contains(texts, "stays pinned to sent after 300ms; the file has TFTP blocks of at most 1024") ||
		!strings.Contains(texts, "now two-step offer, before sent after 300ms") {
		t.Errorf("%s %v", texts, err)
	}
	if s, pinned := b.For("x", "00:16:3e", ""); s != late || !pinned {
		t.Error(s, pinned)
	}
	if got := b.shape(class, oui, product); got != twoStep {
		t.Errorf("%v", got)
	}
	// The same shape, but given up here: it is taken up again.
	b.Failed(class, oui, product, twoStep)
	b.Failed(class, oui, product, twoStep)
	if list, err = b.Import(data, trusted); err != nil || len(list) != 2 || b.shape(class, oui, product) != twoStep {
		t.Errorf("%+v %v", list, err)
	}
	// No room: nothing is taken.
	full := newBook(2)
	for _, c := range []string{"a", "b"} {
		if _, err := full.PinModel(c, oui, "", late, ""); err != nil {
			t.Fatal(err)
		}
	}
	before := full.List()
	if list, err = full.Import(data, trusted); !errors.Is(err, ErrFull) || list != nil || !slices.Equal(full.List(), before) {
		t.Errorf("%+v %v", list, err)
	}
	small := newBook(2)
	small.Worked("old", oui, "", late, true)
	if _, err = small.Import(data, trusted); err != nil || len(small.List()) != 2 {
		t.Errorf("%v %v", small.List(), err)
	}
}

func TestImportRefuses(t *testing.T) {
	good := export(t, sample(t), siteKey)
	model := func(f func(map[string]any)) func(map[string]any) {
		return func(m map[string]any) { f(m["models"].([]any)[0].(map[string]any)) }
	}
	other := keyOfTest(7)
	otherKey := base64.StdEncoding.EncodeToString(other.Public().(ed25519.PublicKey))
	for name, c := range map[string]struct {
		data   []byte
		reason boot.Reason
		says   string
	}{
		"empty":            {nil, boot.ReasonQuirkFile, "not a JSON object: EOF"},
		"an array":         {[]byte("[]"), boot.ReasonQuirkFile, "not a JSON object"},
		"null":             {[]byte("null"), boot.ReasonQuirkFile, "not an object"},
		"two objects":      {append(slices.Clone(good), '{', '}'), boot.ReasonQuirkFile, "something follows"},
		"another document": {[]byte("{}"), boot.ReasonQuirkFile, "bootpuck_quirks is not 1"},
		"a later version":  {resign(t, good, func(m map[string]any) { m["bootpuck_quirks"] = 2 }), boot.ReasonQuirkFile, "later version"},
		"too large":        {append(slices.Clone(good), bytes.Repeat([]byte(" "), MaxFile)...), boot.ReasonQuirkFile, "at most 1048576"},
		"no key":           {resign(t, good, func(m map[string]any) { delete(m, "key") }), boot.ReasonQuirkFile, "the member key is not 32 octets"},
		"short key":        {resign(t, good, func(m map[string]any) { m["key"] = "AAAA" }), boot.ReasonQuirkFile, "the member key"},
		"no base64":        {resign(t, good, func(m map[string]any) { m["signature"] = "?" }), boot.ReasonQuirkFile, "the member signature is not 64 octets"},
		"another's":        {export(t, sample(t), other), boot.ReasonQuirkSignature, otherKey},
		"somebody's name":  {resign(t, good, func(m map[string]any) { m["key"] = base64.StdEncoding.EncodeToString(trusted[0]) }), boot.ReasonQuirkSignature, "does not fit"},
		"changed":          {bytes.Replace(good, []byte("two-step"), []byte("direct"), 1), boot.ReasonQuirkSignature, "does not fit"},
		"unknown member":   {resign(t, good, func(m map[string]any) { m["more"] = 1 }), boot.ReasonQuirkFile, "unknown field"},
		"models no list":   {resign(t, good, func(m map[string]any) { m["models"] = 1 }), boot.ReasonQuirkFile, "not a quirk file"},
		"shape":            {resign(t, good, model(func(m map[string]any) { m["shape"] = map[string]any{"blocksize": 7} })), boot.ReasonQuirkFile, "models[0].shape.blocksize"},
		"id":               {resign(t, good, model(func(m map[string]any) { m["id"] = "0123456789abcdef" })), boot.ReasonQuirkFile, "models[0].id"},
		"no part":          {resign(t, good, model(func(m map[string]any) { delete(m, "class"); delete(m, "oui"); delete(m, "product") })), boot.ReasonQuirkFile, "models[0].class"},
		"twice":            {resign(t, good, func(m map[string]any) { l := m["models"].([]any); m["models"] = append(l, l[0]) }), boot.ReasonQuirkFile, "models[3].id: stands twice"},
	} {
		b := newBook(0)
		list, err := b.Import(c.data, trusted)
		wrong, ok := errors.AsType[*FileError](err)
		if !ok || wrong.Reason() != c.reason || !strings.Contains(err.Error(), c.says) || list != nil || !b.Empty() || len(b.told) != 0 {
			t.Errorf("%s: %v, want %q; %v", name, err, c.says, list)
		}
	}
	if _, err := newBook(0).Import(good, nil); err == nil || !strings.Contains(err.Error(), base64.StdEncoding.EncodeToString(trusted[1])) {
		t.Errorf("nobody is trusted: %v", err)
	}
	// White space and the order of members do not matter.
	var spread bytes.Buffer
	if err := json.Indent(&spread, good, " ", "\t"); err != nil {
		t.Fatal(err)
	}
	if _, err := newBook(0).Import(spread.Bytes(), trusted); err != nil {
		t.Error(err)
	}
	// A member that is there twice is the one that was signed.
	double := bytes.Replace(good, []byte(`"models": [`), []byte(`"models": [{"id":"x","note":"y"}], "models": [`), 1)
	b := newBook(0)
	if _, err := b.Import(double, trusted); err != nil || len(b.List()) != 2 || b.List()[1].Note == "y" {
		t.Errorf("%v %+v", err, b.List())
	}
	// Many errors are cut off.
	var many []Model
	for range 100 {
		many = append(many, Model{})
	}
	if err := checkModels(many); err == nil || strings.Count(err.Error(), "models[") > 25 {
		t.Error(err)
	}
}

func TestExportErrors(t *testing.T) {
	if err := newBook(0).Export(io.Discard, nil); err == nil || !strings.Contains(err.Error(), "the key has 0 octets") {
		t.Error(err)
	}
	r, w := io.Pipe()
	_ = r.Close() // io.PipeReader.Close returns nil
	if err := newBook(0).Export(w, siteKey); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	b := newBook(0)
	for i := range 300 {
		if _, err := b.PinModel(fmt.Sprint(i), "", "", twoStep, strings.Repeat("n", MaxNote)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Export(io.Discard, siteKey); err == nil || !strings.Contains(err.Error(), "shorten notes") {
		t.Error(err)
	}
	// An empty book is a file too.
	if list, err := newBook(0).Import(export(t, newBook(0), siteKey), trusted); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
}

func FuzzImport(f *testing.F) {
	good := export(f, sample(f), siteKey)
	f.Add(good)
	f.Add([]byte(`{"bootpuck_quirks":1,"models":[],"key":"","signature":""}`))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := newBook(4)
		if _, err := b.Import(data, trusted); err != nil {
			if !b.Empty() {
				t.Fatal("refused, and taken over")
			}
			if wrong, ok := errors.AsType[*FileError](err); !ok || wrong.Reason() == boot.ReasonNone {
				t.Fatalf("no reason: %v", err)
			}
		}
		// The same as if it were signed: nothing malformed gets in.
		members, err := decode(data)
		if err != nil {
			return
		}
		members["bootpuck_quirks"], members["key"] = 1, base64.StdEncoding.EncodeToString(trusted[1])
		delete(members, "signature")
		signed, err := canonical(members)
		if err != nil {
			t.Fatal(err)
		}
		members["signature"] = base64.StdEncoding.EncodeToString(ed25519.Sign(siteKey, signed))
		again, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = b.Import(again, trusted); err != nil {
			return
		}
		for _, m := range b.List() {
			if errs := m.check(); errs != nil || m.Pinned || len(m.Class) > MaxPart {
				t.Fatalf("%+v %v", m, errs)
			}
		}
	})
}

func FuzzStored(f *testing.F) {
	f.Add([]byte(`{"id":"x","shape":{"form":"two-step"}}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if m, err := parse(doc); err == nil && m.check() != nil {
			t.Fatalf("%+v", m)
		}
	})
}
