package quirks

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// MaxFile bounds a quirk file, in octets.
const MaxFile = 1 << 20

// fileVersion is the value of the file's first member.
const fileVersion = 1

// file is a quirk file without its signature. The signature is over its
// canonical form: the JSON object without the member "signature", members sorted
// by name at every level, no white space, numbers as they are spelled, and of
// the characters in strings only ", \ and control characters escaped, and also
// U+2028 and U+2029.
type file struct {
	Version int     `json:"bootpuck_quirks"`
	Models  []Model `json:"models"`
	Key     []byte  `json:"key"` // Ed25519 public key, base64
}

// FileError says why a quirk file is not believed.
type FileError struct {
	reason boot.Reason
	text   string
	err    error
}

// Error implements error.
func (e *FileError) Error() string {
	if e.err != nil {
		return e.text + ": " + e.err.Error()
	}
	return e.text
}

// Unwrap is the cause.
func (e *FileError) Unwrap() error { return e.err }

// Reason is boot.ReasonQuirkSignature or boot.ReasonQuirkFile.
func (e *FileError) Reason() boot.Reason { return e.reason }

func malformed(text string, err error) error {
	return &FileError{reason: boot.ReasonQuirkFile, text: text, err: err}
}

func distrusted(text string) error {
	return &FileError{reason: boot.ReasonQuirkSignature, text: text}
}

// Export writes all models as a file signed by key.
func (b *Book) Export(w io.Writer, key ed25519.PrivateKey) error {
	if len(key) != ed25519.PrivateKeySize {
		return fmt.Errorf("sign a quirk file: the key has %d octets, want %d", len(key), ed25519.PrivateKeySize)
	}
	models := b.List()
	slices.SortFunc(models, func(x, y Model) int { return cmp.Compare(x.ID, y.ID) })
	public := key.Public().(ed25519.PublicKey) //nolint:errcheck // of an Ed25519 key it is
	plain, err := json.Marshal(file{Version: fileVersion, Models: models, Key: public})
	if err != nil {
		return fmt.Errorf("write a quirk file: %w", err)
	}
	members, err := decode(plain)
	if err != nil {
		return fmt.Errorf("write a quirk file: %w", err)
	}
	signed, err := canonical(members)
	if err != nil {
		return fmt.Errorf("write a quirk file: %w", err)
	}
	members["signature"] = base64.StdEncoding.EncodeToString(ed25519.Sign(key, signed))
	out, err := json.MarshalIndent(members, "", "  ")
	if err != nil {
		return fmt.Errorf("write a quirk file: %w", err)
	}
	if len(out) >= MaxFile {
		return fmt.Errorf("write a quirk file: it would have %d octets, at most %d; shorten notes", len(out)+1, MaxFile)
	}
	if _, err := w.Write(append(out, '\n')); err != nil {
		return fmt.Errorf("write a quirk file: %w", err)
	}
	return nil
}

// decode reads one JSON object; numbers keep their spelling.
func decode(data []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var members map[string]any
	if err := d.Decode(&members); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the object")
	}
	if members == nil {
		return nil, errors.New("not an object")
	}
	return members, nil
}

// canonical is what the signature is over; encoding/json sorts the members.
func canonical(members map[string]any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(members); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// read checks a file's signature and reads it. Nothing of a file is looked into
// before its key is known to be trusted.
func read(data []byte, trusted []ed25519.PublicKey) ([]Model, error) {
	if len(data) > MaxFile {
		return nil, malformed(fmt.Sprintf("the file has %d octets, at most %d", len(data), MaxFile), nil)
	}
	members, err := decode(data)
	if err != nil {
		return nil, malformed("not a JSON object", err)
	}
	if v, ok := members["bootpuck_quirks"].(json.Number); !ok || v.String() != fmt.Sprint(fileVersion) {
		return nil, malformed(fmt.Sprintf("the member bootpuck_quirks is not %d: no quirk file, or one of a later version", fileVersion), nil)
	}
	key, err := octets(members, "key", ed25519.PublicKeySize)
	if err != nil {
		return nil, err
	}
	signature, err := octets(members, "signature", ed25519.SignatureSize)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(trusted, func(t ed25519.PublicKey) bool { return t.Equal(ed25519.PublicKey(key)) }) {
		return nil, distrusted("the file is signed by the key " + base64.StdEncoding.EncodeToString(key) + ", which is not in the setting quirk-keys")
	}
	delete(members, "signature")
	signed, err := canonical(members)
	if err != nil {
		return nil, malformed("not a JSON object", err)
	}
	if !ed25519.Verify(key, signed, signature) {
		return nil, distrusted("the signature does not fit the file: it was changed after it was signed by the key " + base64.StdEncoding.EncodeToString(key))
	}
	// What was signed is what is read: of a member that is there twice, the file
	// itself could mean either.
	var f file
	d := json.NewDecoder(bytes.NewReader(signed))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, malformed("not a quirk file", err)
	}
	return f.Models, checkModels(f.Models)
}

// octets reads a member that holds a fixed number of octets in base64.
func octets(members map[string]any, name string, want int) ([]byte, error) {
	text, _ := members[name].(string)
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != want {
		return nil, malformed(fmt.Sprintf("the member %s is not %d octets in base64", name, want), nil)
	}
	return b, nil
}

func checkModels(models []Model) error {
	var errs boot.FieldErrors
	seen := map[string]bool{}
	for i, m := range models {
		for _, e := range m.check() {
			errs = append(errs, boot.FieldError{Field: fmt.Sprintf("models[%d].%s", i, e.Field), What: e.What})
		}
		if seen[m.ID] {
			errs = append(errs, boot.FieldError{Field: fmt.Sprintf("models[%d].id", i), What: "stands twice; take one out"})
		}
		seen[m.ID] = true
		if len(errs) >= 20 {
			break // enough to see that somebody wrote it by hand
		}
	}
	if len(errs) > 0 {
		return malformed("models are wrong", errs)
	}
	return nil
}

// Difference is one change that an import made, or did not make.
type Difference struct {
	Document string `json:"document"` // "quirks/" and the model's ID
	Text     string `json:"text"`     // for people
}

// Import takes over the models of a file that is signed by one of the trusted
// keys: all of them, or none. They count as learned, pinned or not: a pin is the
// word of the operator of this box. Pins made here, and models that have the same
// shape here, stay as they are; models that the file's box does not use any more
// are left out. An error is a *FileError, or ErrFull.
func (b *Book) Import(data []byte, trusted []ed25519.PublicKey) ([]Difference, error) {
	models, err := read(data, trusted)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(models, func(x, y Model) int { return cmp.Compare(x.ID, y.ID) })
	out, n, err := b.merge(models)
	if n > 0 {
		b.cfg.Sink(boot.Event{
			Time: b.cfg.Now(), Kind: boot.KindOperator, Text: fmt.Sprintf("a quirk file was imported: %d models taken over", n),
		})
	}
	return out, err
}

// merge takes over what differs, and counts it.
func (b *Book) merge(models []Model) (out []Difference, n int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var take []Model
	pinned := 0
	for _, m := range b.models {
		if m.Pinned {
			pinned++
		}
	}
	for _, m := range models {
		have := b.models[m.ID]
		say := func(text string) {
			out = append(out, Difference{Document: "quirks/" + m.ID, Text: m.String() + ": " + text})
		}
		switch {
		case !m.Used():
			continue
		case have == nil:
			say("new, " + m.Shape.String())
		case have.Shape == m.Shape && have.Used():
			continue
		case have.Pinned:
			say("stays pinned to " + have.Shape.String() + "; the file has " + m.Shape.String())
			continue
		default:
			say("now " + m.Shape.String() + ", before " + have.Shape.String())
		}
		take = append(take, m)
	}
	if pinned+len(take) > b.cfg.Max {
		return nil, 0, fmt.Errorf("the file has %d models to take over: %w", len(take), ErrFull)
	}
	b.take(take)
	return out, len(take), nil
}

// take puts models in. b.mu is held.
func (b *Book) take(models []Model) {
	now := b.cfg.Now()
	for _, m := range models {
		m.Class, m.Product, m.OUI = part(m.Class), part(m.Product), strings.ToLower(m.OUI)
		m.Pinned, m.Worked, m.Failed, m.First, m.Last = false, max(m.Worked, 1), 0, now, now
		if b.models[m.ID] == nil && !b.room() {
			continue // cannot be: pinned ones leave room for all that are taken
		}
		b.models[m.ID] = &m
		b.mark(m.ID)
	}
	b.reindex()
}
