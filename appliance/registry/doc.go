// Package registry is what the box knows while it runs: the operator's documents
// as one immutable catalog, the machines it has met, and everything that was
// handed to them and may be used once, or for a while: tokens, codes, requests.
// Every decision about a machine, every approval and every callback goes through
// it. What must not be forgotten is written through to the store.
//
// Threat model. Everybody on the LAN can ask, and every name in a question is a
// claim. The registry must never
//
//   - hand a machine's secrets, or anything that overwrites a disk, to a sender
//     that is not known to be that machine;
//   - let a claim change what is stored as a machine's identity, use up its
//     assignment, or stop it;
//   - hand out an armed plan that is not on the medium as started, for after a
//     power cut the box would hand it out a second time;
//   - wait for the medium on behalf of a machine that asks for anything else;
//   - grow without bound: machines, tokens, requests and decisions are counted,
//     and the memory of each is bounded.
//
// Locking. One mutex guards what changes with every boot. The catalog is read
// through an atomic pointer and never changed in place; nor are the slices and
// maps inside a record, so that a copy of a record may be read without the
// lock. Changes that must be durable go through a queue (persist.go): prepared
// and committed under the mutex, written outside of it, many in one transaction.
package registry
