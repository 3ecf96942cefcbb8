// Package doctor says why a boot stopped and what is wrong with the LAN: rules
// over one attempt and over what is known of the network, each of which yields a
// named verdict with its confidence, the evidence, a plain sentence and a fix.
//
// Everything in it is a pure function of its arguments. It must never guess in
// the tone of certainty: the box sees its own packets, the broadcasts of others
// and the requests to its own ports, and nothing of a machine's screen. What two
// causes have in common is said to be one of several. It must never blame a boot
// that works: a verdict that is wrong costs more than one that is missing.
//
// All texts of an attempt are a stranger's. They are bounded and made valid UTF-8
// here; whoever prints a verdict escapes it.
package doctor
