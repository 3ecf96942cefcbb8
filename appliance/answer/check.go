package answer

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// maxCmdline is what the kernels of x86 and arm64 take, without the final zero
// octet (COMMAND_LINE_SIZE).
const maxCmdline = 2047

// ContentType is the media type of what a template of this kind makes. All but
// JSON is plain text: whoever opens it in a browser is to read it, and an
// operator's XML is not to run there.
func ContentType(kind boot.TemplateKind) string {
	if kind == boot.TemplateIgnition {
		return "application/json"
	}
	return "text/plain; charset=utf-8"
}

// CheckOutput is CheckOutput for the template's own kind.
func (t *Text) CheckOutput(out []byte) error { return CheckOutput(t.kind, out) }

// CheckOutput says whether a text is one that readers of that kind can read at
// all: XML and JSON and YAML that are well formed and begin with what their
// reader looks for, preseed lines of a known type, kickstart sections that end.
// It does not know every key of every installer. Errors name the line.
func CheckOutput(kind boot.TemplateKind, out []byte) error {
	switch kind {
	case boot.TemplateIgnition:
		return checkIgnition(out)
	case boot.TemplateAutoinstall:
		return checkCloudConfig(out)
	case boot.TemplateAutounattend:
		return checkXML(out, "unattend", "urn:schemas-microsoft-com:unattend")
	case boot.TemplateAutoYaST:
		return checkXML(out, "profile", "http://www.suse.com/1.0/yast2ns")
	case boot.TemplatePreseed:
		return checkPreseed(string(out))
	case boot.TemplateKickstart:
		return checkKickstart(string(out))
	case boot.TemplateCmdline:
		return checkCmdline(out)
	case boot.TemplateScript:
		return checkScript(out)
	case boot.TemplatePlain:
		return nil
	}
	return fmt.Errorf("kind %.20q: want one of %v", kind, boot.TemplateKinds())
}

// checkIgnition wants a JSON object with the version that Ignition reads first.
func checkIgnition(out []byte) error {
	var doc struct {
		Ignition *struct {
			Version *string `json:"version"`
		} `json:"ignition"`
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	if err := dec.Decode(&doc); err != nil {
		offset := dec.InputOffset()
		var syntax *json.SyntaxError
		var kind *json.UnmarshalTypeError
		switch {
		case errors.As(err, &syntax):
			offset = syntax.Offset
		case errors.As(err, &kind):
			offset = kind.Offset
		}
		line, column := position(string(out), max(int(offset)-1, 0))
		return fmt.Errorf("line %d, column %d: JSON: %s", line, column, printable(err.Error()))
	}
	if rest := bytes.TrimSpace(out[dec.InputOffset():]); len(rest) > 0 {
		line, column := position(string(out), len(out)-len(bytes.TrimLeft(out[dec.InputOffset():], " \t\r\n")))
		return fmt.Errorf("line %d, column %d: JSON: more text after the document", line, column)
	}
	if doc.Ignition == nil || doc.Ignition.Version == nil || *doc.Ignition.Version == "" {
		return errors.New(`ignition.version: missing; an Ignition configuration holds {"ignition": {"version": "3.4.0"}}`)
	}
	return nil
}

// checkCloudConfig wants what cloud-init recognises: its first line, and a
// mapping.
func checkCloudConfig(out []byte) error {
	first, rest, _ := strings.Cut(string(out), "\n")
	if strings.HasPrefix(first, "## template:") {
		first, _, _ = strings.Cut(rest, "\n")
	}
	if strings.TrimRight(first, " \t\r") != "#cloud-config" {
		return errors.New("line 1: want #cloud-config, cloud-init ignores the file without it; for meta-data use a plain template")
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(out))
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("nothing follows #cloud-config")
		}
		return fmt.Errorf("YAML: %s", printable(err.Error()))
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return errors.New("YAML: want a mapping like \"autoinstall:\" at the top")
	}
	var more yaml.Node
	if err := dec.Decode(&more); !errors.Is(err, io.EOF) {
		return errors.New("YAML: want one document, there is more after it")
	}
	top := doc.Content[0].Content
	seen := map[string]bool{}
	for i := 0; i+1 < len(top); i += 2 {
		key, value := top[i], top[i+1]
		if seen[key.Value] {
			return fmt.Errorf("line %d: YAML: %.60q is there twice", key.Line, key.Value)
		}
		seen[key.Value] = true
		if key.Value != "autoinstall" {
			continue
		}
		if value.Kind != yaml.MappingNode {
			return fmt.Errorf("line %d: autoinstall: want a mapping below it", key.Line)
		}
		if !slices.ContainsFunc(value.Content, func(n *yaml.Node) bool { return n.Value == "version" }) {
			return fmt.Errorf("line %d: autoinstall.version: missing, write \"version: 1\"", key.Line)
		}
	}
	return nil
}

// checkXML reads a document to its end and looks at its outermost element.
func checkXML(out []byte, root, space string) error {
	dec := xml.NewDecoder(bytes.NewReader(out))
	depth, roots := 0, 0
	for {
		line, column := dec.InputPos()
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			line, column = dec.InputPos()
			return fmt.Errorf("line %d, column %d: XML: %s", line, column, printable(strings.TrimPrefix(err.Error(), "XML syntax error on ")))
		}
		switch token := token.(type) {
		case xml.StartElement:
			if depth == 0 {
				if roots++; roots > 1 {
					return fmt.Errorf("line %d, column %d: XML: a second outermost element <%.40s>", line, column, token.Name.Local)
				}
				if token.Name.Local != root || token.Name.Space != space {
					return fmt.Errorf("line %d, column %d: the outermost element is <%.40s xmlns=%.80q>, want <%s xmlns=%q>", line, column, token.Name.Local, token.Name.Space, root, space)
				}
			}
			depth++
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && len(bytes.Trim(token, " \t\r\n\ufeff")) > 0 {
				return fmt.Errorf("line %d, column %d: XML: text outside of the outermost element", line, column)
			}
		}
	}
	if roots == 0 {
		return fmt.Errorf("XML: there is no element, want <%s>", root)
	}
	return nil
}

// preseedTypes are debconf's types of questions, and the flag that preseeding
// knows besides them.
var preseedTypes = []string{"string", "boolean", "select", "multiselect", "password", "note", "text", "error", "title", "seen"}

// checkPreseed wants "owner question type value" on every line.
func checkPreseed(text string) error {
	number := 0
	for len(text) > 0 {
		number++
		at := number
		var line string
		line, text, _ = strings.Cut(text, "\n")
		for strings.HasSuffix(line, `\`) && text != "" && !strings.HasPrefix(line, "#") {
			var next string
			next, text, _ = strings.Cut(text, "\n")
			line = strings.TrimSuffix(line, `\`) + next
			number++
		}
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		switch {
		case len(f) < 3:
			return fmt.Errorf("line %d: want \"owner question type value\", like \"d-i netcfg/get_hostname string name\"", at)
		case !slices.Contains(preseedTypes, f[2]):
			return fmt.Errorf("line %d: type %.20q: want one of %s", at, printable(f[2]), strings.Join(preseedTypes, ", "))
		case f[2] == "boolean" && len(f) > 3 && f[3] != "true" && f[3] != "false":
			return fmt.Errorf("line %d: %.60s: want true or false", at, printable(f[1]))
		}
	}
	return nil
}

// kickstartSections are those that %end closes.
var kickstartSections = []string{
	"%packages", "%pre", "%pre-install", "%post", "%onerror", "%traceback", "%addon", "%anaconda", "%certificate",
}

// checkKickstart looks whether sections end.
func checkKickstart(text string) error {
	open, since := "", 0
	for i, line := range strings.Split(text, "\n") {
		word, _, _ := strings.Cut(strings.TrimRight(line, "\r"), " ")
		switch {
		case word == "%end" && open == "":
			return fmt.Errorf("line %d: %%end without a section before it", i+1)
		case word == "%end":
			open = ""
		case slices.Contains(kickstartSections, word):
			if open != "" {
				return fmt.Errorf("line %d: %s begins within %s of line %d: %%end is missing", i+1, word, open, since)
			}
			open, since = word, i+1
		case open == "" && strings.HasPrefix(word, "%") && word != "%include" && word != "%ksappend":
			return fmt.Errorf("line %d: %.20q: there is no such section", i+1, printable(word))
		}
	}
	if open != "" {
		return fmt.Errorf("line %d: %s has no %%end", since, open)
	}
	return nil
}

func checkCmdline(out []byte) error {
	if len(out) > maxCmdline {
		return fmt.Errorf("a command line of %d octets: kernels take %d", len(out), maxCmdline)
	}
	for i, r := range string(out) {
		if r < ' ' || r > '~' {
			return fmt.Errorf("column %d: a command line is one line of ASCII", i+1)
		}
	}
	return nil
}

func checkScript(out []byte) error {
	for i, r := range string(out) {
		if control(r) && r != '\n' && r != '\r' && r != '\t' {
			line, column := position(string(out), i)
			return fmt.Errorf("line %d, column %d: a control character", line, column)
		}
	}
	return nil
}
