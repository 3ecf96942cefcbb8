package main

// equivalents are mutants that change nothing anyone could notice, by file,
// function and change, with the reason. One that is noticed after all, or that
// no longer exists, does no harm here.
var equivalents = map[string]string{
	`arch.go Info: "unknown architecture " → "mutant"`: "words for people",

	`client.go Has: f >= featureFirst && f <= featureLast → true`: shift,
	`client.go Has: f >= featureFirst && f <= featureLast → ||`:   shift,
	`client.go Has: f >= featureFirst → true`:                     shift,
	`client.go Has: f <= featureLast → true`:                      shift,
	`client.go Has: featureLast → 43`:                             shift,
	`client.go UserClasses: 0 → 1`:                                "a single octet left can be no class either way",
	`client.go readArch: 0 → 1`:                                   "the length is even, so it is never 1",
	`client.go readArch: ok → true`:                               "an architecture outside the registry has no loader",
	`client.go archFromClass: !ok → false`:                        "without the separator the rest is empty: no digits",

	`decide.go rule: false → true`:         "the rule beside it is empty",
	`decide.go hostIsAddress: !ok → false`: "without a scheme the host is empty: no address",

	`memory.go Offered: loopLimit-1 → 4`:           "copy stops at the shorter slice",
	`memory.go Offered: oldest.IsZero() → false`:   "the zero time is longer ago than any window",
	`memory.go Offered: !r.looped.IsZero() → true`: "the zero time is longer ago than any window",
	`memory.go Loaded: r.form != FormNone → true`:  "no style overwrites no style: one that worked has been offered",
	`memory.go Loaded: FormNone → "mutant"`:        "no style overwrites no style: one that worked has been offered",

	`memory.go place: m.byAddr[addr] == e → false`: "placing it where it is changes nothing",

	`quirk_round.go failed: m != (Move{}) → true`: "without a move nothing is tried, and what was sure ends with the boot",

	`quirk.go anew: partVariant → 225`:    offerDone,
	`quirk.go anew: partBlock → 3841`:     offerDone,
	`quirk.go anew: partPriority → 28673`: offerDone,

	`identify.go sharedGUIDs: err != nil → false`: "the list is correct",
	`identify.go sharedGUIDs: drop panic(err)`:    "the list is correct",
	`identify.go UsableGUID: 0 → 1`:               "all octets are equal to the second one exactly when they are to the first",
	`identify.go Claim: plain(s) → false`:         "the way without a copy, to the same text",

	`records.go Identify: q.guid → true`:               "no record agrees with an identifier that is none",
	`records.go Identify: other != s.GUID → true`:      "a record that is named twice counts once",
	`records.go Identify: q.serial → true`:             "no record agrees with a serial number that is none",
	`records.go Identify: s.Manufacturer != "" → true`: "a record that is named twice counts once",
	`records.go Identify: "" → "mutant"`:               "a record that is named twice counts once",

	`records.go narrow: len(with) > 1 → >=`: "one is dealt with above",
	`records.go rank: 2 → 3`:                "the last rank is the last one",

	`decision.go rule: drop d.out.Steps = slices.Grow(d.out.Steps, min(len(d.c.Rules), s…`: "room only",
	`decision.go rule: stepsKept → 291`:                                                    "room only",
	`decision.go rule: 2 → 3`:                                                              "room only",

	`match.go validParameter: '9' → 58`: "the colon is allowed anyway",
	`text.go pathProblem: '9' → 58`:     "the colon is allowed anyway",

	`preflight.go version: n < 6 → <=`: "no version has so many digits",
	`preflight.go version: 6 → 7`:      "no version has so many digits",
	`preflight.go version: 10 → 11`:    "the order of numbers is the same to another base",

	`assignment.go progress: 4*MaxProgress → 801`: "what is beyond is cut off anyway",

	`match.go architecture: 0 → 1`:           "the value beside false",
	`match.go folded: !ok → true`:            cache,
	`match.go folded: v.vars == nil → true`:  cache,
	`match.go folded: drop v.vars[name] = x`: cache,
	`match.go macPrefix: "" → "mutant"`:      "the prefix beside a problem",
	`match.go macPrefix: 0 → 1`:              "a single digit is no even number of them",
	`match.go subnet: v.addr == "" → true`:   cache,

	`catalog.go NewCatalog: "allow" → "mutant"`: "the errors of the lists were taken from Site.Check already",
	`catalog.go NewCatalog: "deny" → "mutant"`:  "the errors of the lists were taken from Site.Check already",

	`text.go withoutSettings: '1' → 50`: "one digit or another",

	`trust.go sensitive: t.Destructive → false`: "a destructive target is armed, and what is armed is sensitive",
	`trust.go trust: "" → "mutant"`:             "nobody is told why nothing is wrong",

	`settings.go checkFile: ok → true`: "an architecture outside the registry has no HTTP variant",

	`env.go isBroadcast: !p.Addr().Is4() → false`:          "an IPv6 network contains no IPv4 address",
	`env.go address: peer.IsUnspecified() → false`:         "no network of an interface contains 0.0.0.0",
	`env.go address: p.Addr().Is4() → true`:                "an IPv6 network contains no IPv4 address",
	`env.go destination: !r.ciaddr.IsUnspecified() → true`: "0.0.0.0 is in no network of an interface",

	`request.go decode: errors.Is(err, io.ErrUnexpectedEOF) → true`: "one octet more repairs no other error: an option that it completes leaves no End",
	`request.go readItem: false → true`:                             "it is known to be malformed; walking on changes nothing",
	`request.go readItem: 0 → 1`:                                    "the item counts only when there is one",

	`limit.go admit: d > 0 → >=`: "no time adds no tokens",
	`limit.go admit: 0 → 1`:      "a nanosecond adds no token",
}

const offerDone = "a bit of the offer's part, which begins anew just before"

const cache = "it is worked out again, to the same value"

const shift = "a feature outside the bounds is shifted out of the bits that can be set"
