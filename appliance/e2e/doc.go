// Package e2e proves the box end to end: real firmware in QEMU boots through
// real DHCP servers nobody touched, with the box as a plain process and as the
// disk image that is flashed. Its tests run with BOOTPUCK_E2E=1, as root, in
// namespaces they make themselves; without it they are skipped.
//
// The results are printed as one table and written to .build/e2e/results.md
// and .build/e2e/results.json at the repository's root. What a failed row left
// (capture, time line, serial console, screen) is under .build/e2e/failed.
//
// TestVerdicts and its neighbours break something for real (a wire that loses
// packets, a DHCP server that is stopped or says too much, a second box) and hold
// what the box says about it against what was done. Most machines there are
// played by pxesim, each on a wire of its own; where the behaviour of firmware is
// the point, it is real. The table is .build/e2e/verdicts.md; what page, metrics
// and command say of the LAN is in .build/e2e/lan-*.txt.
//
// Nothing in here may depend on the product's own code for judging it: what
// counts is what the clients' consoles and the wire show.
package e2e
