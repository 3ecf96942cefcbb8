package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"
)

// ISCSIAddr is where the site's iSCSI target is.
const ISCSIAddr = "10.77.0.7"

var iscsiMAC = net.HardwareAddr{0x52, 0x54, 0x00, 0xb0, 0x07, 0x07}

// ISCSI describes a target: a real one, Debian's tgt, in a namespace of its own.
type ISCSI struct {
	// Target is the target's name, for example "iqn.2026-01.org.example:disk".
	Target string
	// Disk is the raw image behind LUN 1; LUN 0 is the controller.
	Disk string
	// Initiator, if not empty, is the only initiator name that may log in.
	Initiator string
	// User and Password, if not empty, are asked for by CHAP.
	User, Password string
}

// URI is the SAN URI of the disk as iPXE takes it (RFC 4173).
func (t ISCSI) URI() string { return "iscsi:" + ISCSIAddr + "::3260:1:" + t.Target }

// StartISCSI starts a server of these targets, once per site, with which it ends.
// It needs the package tgt.
func (s *Site) StartISCSI(ctx context.Context, targets ...ISCSI) (*Proc, error) {
	ns, err := s.NewStation("iscsi", iscsiMAC)
	if err != nil {
		return nil, err
	}
	if err := ns.addr("eth0", ISCSIAddr+"/24"); err != nil {
		return nil, err
	}
	if err := ns.route("", RouterAddr); err != nil {
		return nil, err
	}
	// Its control socket lies where no other tgtd of this machine has its own.
	socket := "TGT_IPC_SOCKET=" + s.file("tgt")
	p, err := s.run(ns, "tgtd", "env", socket, "/usr/sbin/tgtd", "-f", "--iscsi", "portal="+ISCSIAddr+":3260")
	if err != nil {
		return nil, err
	}
	admin := func(args ...string) error {
		_, err := output(ctx, "", "env", append([]string{socket, "/usr/sbin/tgtadm", "--lld", "iscsi"}, args...)...)
		return err
	}
	if err := s.waitTCP(ctx, ISCSIAddr+":3260"); err != nil {
		return nil, fmt.Errorf("iSCSI target (package tgt): %w; it said:\n%s", err, p.Out.Tail(8))
	}
	for i, t := range targets {
		if err := t.add(ctx, strconv.Itoa(i+1), admin); err != nil {
			return nil, fmt.Errorf("iSCSI target %s: %w", t.Target, err)
		}
	}
	return p, nil
}

// add makes one target with the given number.
func (t ISCSI) add(ctx context.Context, tid string, admin func(args ...string) error) error {
	disk, err := filepath.Abs(t.Disk)
	if err != nil {
		return err
	}
	// The control socket may come after the portal.
	err = retry(ctx, 10*time.Second, func() error { return admin("--op", "new", "--mode", "target", "--tid", tid, "-T", t.Target) })
	if err != nil {
		return err
	}
	steps := [][]string{
		{"--op", "new", "--mode", "logicalunit", "--tid", tid, "--lun", "1", "-b", disk},
	}
	if t.User != "" {
		steps = append(steps,
			[]string{"--op", "new", "--mode", "account", "--user", t.User, "--password", t.Password},
			[]string{"--op", "bind", "--mode", "account", "--tid", tid, "--user", t.User})
	}
	bind := []string{"--op", "bind", "--mode", "target", "--tid", tid}
	if t.Initiator != "" {
		bind = append(bind, "--initiator-name", t.Initiator)
	} else {
		bind = append(bind, "-I", "ALL")
	}
	for _, step := range append(steps, bind) {
		if err := admin(step...); err != nil {
			return err
		}
	}
	return nil
}

// retry calls f until it succeeds or the time is over.
func retry(ctx context.Context, limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
	}
}
