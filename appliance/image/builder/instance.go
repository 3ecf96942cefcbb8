package builder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// versionVariable is the string the linker sets in our own program.
const versionVariable = "github.com/bootpuck/bootpuck/appliance/system.buildVersion"

// module is the module whose programs get the version stamped in.
const module = "github.com/bootpuck/bootpuck/"

// instance is the part of a gokrazy instance description the builder looks at
// or changes. Everything else is carried over untouched.
type instance struct {
	Hostname string
	Packages []string
	Update   struct {
		NoPassword   bool
		UseTLS       string
		HTTPPassword string
	}
	EEPROMPackage *string
}

// Programs returns the Go packages an instance description puts into an image,
// kernel and firmware of the kind included.
func Programs(root []byte, k Kind) ([]string, error) {
	var in struct{ Packages, GokrazyPackages []string }
	if err := json.Unmarshal(root, &in); err != nil {
		return nil, fmt.Errorf("read instance description: %w", err)
	}
	all := append(append(in.Packages, in.GokrazyPackages...), gokrazyModule, k.Kernel)
	if k.Firmware != "" {
		all = append(all, k.Firmware)
	}
	return all, nil
}

// Derive turns the repository's instance description into the one for a kind
// of machine and returns it with the host name; files are texts to put into the
// root file system, by path. It refuses a description that
// would put a password or a secret key into an image every customer shares, or
// that would reflash a customer's machine.
func Derive(root []byte, k Kind, version string, files map[string]string) (derived []byte, hostname string, _ error) {
	var in instance
	if err := json.Unmarshal(root, &in); err != nil {
		return nil, "", fmt.Errorf("read instance description: %w", err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(root, &all); err != nil {
		return nil, "", fmt.Errorf("read instance description: %w", err)
	}
	switch {
	case in.Hostname == "":
		return nil, "", errors.New("instance description: no Hostname")
	case len(in.Packages) == 0:
		return nil, "", errors.New("instance description: no Packages")
	case !in.Update.NoPassword || in.Update.HTTPPassword != "":
		return nil, "", errors.New("instance description: Update.NoPassword must be true and no password may be set: an image has no secret of its own")
	case in.Update.UseTLS != "off":
		return nil, "", errors.New(`instance description: Update.UseTLS must be "off": a key in an image is shared by everybody`)
	case in.EEPROMPackage == nil || *in.EEPROMPackage != "":
		return nil, "", errors.New("instance description: EEPROMPackage must be empty: it would reflash the machine's boot loader")
	}

	set := func(m map[string]json.RawMessage, key string, v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("instance description: %s: %w", key, err)
		}
		m[key] = b
		return nil
	}
	packages := map[string]map[string]json.RawMessage{}
	if raw, ok := all["PackageConfig"]; ok {
		if err := json.Unmarshal(raw, &packages); err != nil {
			return nil, "", fmt.Errorf("instance description: PackageConfig: %w", err)
		}
	}
	// Files belong to a program in gokrazy; they go with the first one.
	if len(files) > 0 {
		first := in.Packages[0]
		if packages[first] == nil {
			packages[first] = map[string]json.RawMessage{}
		}
		if _, ok := packages[first]["ExtraFileContents"]; ok {
			return nil, "", fmt.Errorf("instance description: %s: ExtraFileContents is set by the builder", first)
		}
		if err := set(packages[first], "ExtraFileContents", files); err != nil {
			return nil, "", err
		}
	}
	for _, p := range in.Packages {
		if !strings.HasPrefix(p, module) {
			continue
		}
		if packages[p] == nil {
			packages[p] = map[string]json.RawMessage{}
		}
		var flags []string
		if raw, ok := packages[p]["GoBuildFlags"]; ok {
			if err := json.Unmarshal(raw, &flags); err != nil {
				return nil, "", fmt.Errorf("instance description: %s: GoBuildFlags: %w", p, err)
			}
		}
		if slices.ContainsFunc(flags, func(f string) bool { return strings.Contains(f, "ldflags") }) {
			return nil, "", fmt.Errorf("instance description: %s: -ldflags is set by the builder", p)
		}
		flags = append(flags, "-ldflags=-s -w -X "+versionVariable+"="+version)
		if err := set(packages[p], "GoBuildFlags", flags); err != nil {
			return nil, "", err
		}
	}
	for key, v := range map[string]any{
		"PackageConfig":   packages,
		"SerialConsole":   k.SerialConsole,
		"KernelPackage":   k.Kernel,
		"FirmwarePackage": k.Firmware,
	} {
		if err := set(all, key, v); err != nil {
			return nil, "", err
		}
	}
	compact, err := json.Marshal(all)
	if err != nil {
		return nil, "", fmt.Errorf("write instance description: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "    "); err != nil {
		return nil, "", fmt.Errorf("write instance description: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), in.Hostname, nil
}
