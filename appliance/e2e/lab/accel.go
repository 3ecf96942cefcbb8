package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// Accel is how QEMU runs a guest's instructions.
type Accel string

// The two ways.
const (
	KVM Accel = "kvm" // on the processor
	TCG Accel = "tcg" // emulated
)

// Accelerators finds out by trying which accelerator each firmware can use
// here, once per program: a /dev/kvm may exist and still be of a kind under
// which firmware or kernels die.
type Accelerators struct {
	// Kernel is a Linux kernel for the trial of SeaBIOS machines: their chain
	// ends in one, so it must run too.
	Kernel string

	mu    sync.Mutex
	known map[FirmwareKind]Accel
	why   map[FirmwareKind]string
}

// For returns the accelerator for a firmware, and in words why.
func (a *Accelerators) For(ctx context.Context, kind FirmwareKind, newer string) (Accel, string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if accel, ok := a.known[kind]; ok {
		return accel, a.why[kind]
	}
	if a.known == nil {
		a.known, a.why = make(map[FirmwareKind]Accel), make(map[FirmwareKind]string)
	}
	accel, why := KVM, "tried"
	if err := a.try(ctx, kind, newer); err != nil {
		accel, why = TCG, err.Error()
	}
	a.known[kind], a.why[kind] = accel, why
	return accel, why
}

// try boots a machine under KVM without a network until it shows that it
// works. An error is the reason to emulate.
func (a *Accelerators) try(ctx context.Context, kind FirmwareKind, newer string) (err error) {
	if kind.arm() != (runtime.GOARCH == "arm64") {
		return fmt.Errorf("another processor than this machine's")
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_ = f.Close()
	files, err := FindFirmware(kind, newer)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-accel-", prefix, os.Getpid()))
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	g := guest{
		client: Client{Firmware: kind}, accel: KVM, mac: MACFor("accel"), uuid: UUIDFor("accel"), memoryMB: 512,
		serial: filepath.Join(dir, "serial"), qmp: filepath.Join(dir, "qmp"),
	}
	// Firmware without anything to boot says so; a kernel without a root says
	// that it is running.
	markers := []string{"No bootable", "no bootable", "BdsDxe", "UEFI Interactive Shell", "Shell>"}
	if kind.uefi() {
		if err := prepareVars(&g, files, dir, "accel"); err != nil {
			return err
		}
	} else {
		g.kernel, markers = a.Kernel, []string{"Run /init", "Unable to mount root", "VFS: Cannot open root"}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: g.serial, Net: "unix"})
	if err != nil {
		return err
	}
	defer l.Close()
	p, err := start(nil, dir, "qemu", g.args()...)
	if err != nil {
		return err
	}
	defer p.Stop(0)
	defer func() {
		// A QEMU that could not start says why better than its broken sockets.
		if err == nil {
			return
		}
		select {
		case <-p.Done():
			err = errors.New(firstLine(p.Out.String(), err.Error()))
		case <-time.After(time.Second):
		}
	}()
	serial, err := acceptQEMU(l, "the serial line", p, 10*time.Second)
	if err != nil {
		return err
	}
	defer serial.Close()
	out := NewConsole(nil)
	go func() {
		_, _ = io.Copy(out, serial)
		_ = out.Close()
	}()
	q, err := dialQMP(ctx, g.qmp, p)
	if err != nil {
		return err
	}
	defer q.close()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	died := make(chan struct{})
	go func() {
		// An emulation failure leaves QEMU running and the guest stopped.
		defer close(died)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				status, err := q.ask("query-status", nil)
				if err != nil || !jsonContains(status, `"running"`) {
					cancel()
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	_, _, err = out.WaitFor(ctx, markers...)
	cancel()
	<-died
	if err != nil {
		return fmt.Errorf("KVM was tried and the machine did not run: %s", firstLine(p.Out.String(), err.Error()))
	}
	return nil
}
