package lab

import (
	"fmt"
	"os"
	"path/filepath"
)

// FirmwareFiles are the two halves of a UEFI firmware.
type FirmwareFiles struct {
	Code, Vars string
}

// FindFirmware says where a firmware's files are. newer is the directory into
// which [FetchNewFirmware] unpacked, or empty. The error says what is missing.
func FindFirmware(kind FirmwareKind, newer string) (FirmwareFiles, error) {
	const share = "/usr/share"
	var f FirmwareFiles
	switch kind {
	case SeaBIOS:
		return f, nil
	case OVMF:
		f = FirmwareFiles{share + "/OVMF/OVMF_CODE_4M.fd", share + "/OVMF/OVMF_VARS_4M.fd"}
	case OVMF32:
		f = FirmwareFiles{share + "/OVMF/OVMF32_CODE_4M.secboot.fd", share + "/OVMF/OVMF32_VARS_4M.fd"}
	case AAVMF:
		f = FirmwareFiles{share + "/AAVMF/AAVMF_CODE.fd", share + "/AAVMF/AAVMF_VARS.fd"}
	case OVMFSecure:
		f = FirmwareFiles{share + "/OVMF/OVMF_CODE_4M.ms.fd", share + "/OVMF/OVMF_VARS_4M.ms.fd"}
	case OVMFNew:
		f = FirmwareFiles{newer + share + "/OVMF/OVMF_CODE_4M.fd", newer + share + "/OVMF/OVMF_VARS_4M.fd"}
	case OVMFSecureNew:
		f = FirmwareFiles{newer + share + "/OVMF/OVMF_CODE_4M.ms.fd", newer + share + "/OVMF/OVMF_VARS_4M.ms.fd"}
	case AAVMFNew:
		f = FirmwareFiles{newer + share + "/AAVMF/AAVMF_CODE.fd", newer + share + "/AAVMF/AAVMF_VARS.fd"}
	default:
		return f, fmt.Errorf("no firmware of kind %q", kind)
	}
	if kind.newer() && newer == "" {
		return FirmwareFiles{}, fmt.Errorf("firmware %s was not fetched", kind)
	}
	for _, p := range []string{f.Code, f.Vars} {
		if _, err := os.Stat(p); err != nil {
			return f, fmt.Errorf("firmware %s: %w", kind, err)
		}
	}
	return f, nil
}

// prepareVars makes a client's own variable store in dir, or finds the one it had
// when it was on before.
func prepareVars(g *guest, f FirmwareFiles, dir, name string) error {
	g.code, g.vars = f.Code, filepath.Join(dir, name+".vars")
	if _, err := os.Stat(g.vars); err == nil {
		return nil
	}
	store, err := os.ReadFile(f.Vars)
	if err != nil {
		return fmt.Errorf("variable store: %w", err)
	}
	if g.client.HTTP {
		if store, err = SetBootOrder(store, BootEntry{"HTTP", HTTPBootPath(nicSlot, g.mac)}); err != nil {
			return fmt.Errorf("%s: %w", f.Vars, err)
		}
	}
	if err := os.WriteFile(g.vars, store, 0o600); err != nil {
		return fmt.Errorf("variable store: %w", err)
	}
	return nil
}
