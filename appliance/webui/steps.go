package webui

import (
	"slices"
	"strconv"

	"github.com/bootpuck/bootpuck/appliance/boot"
)

// The way of a boot in the few steps that people think in.
var way = []struct {
	title  string
	stages []boot.StageName
}{
	{"Asks", []boot.StageName{boot.StageDiscover}},
	{"Answer", []boot.StageName{boot.StageOffer, boot.StageAsk}},
	{"Address", []boot.StageName{boot.StageLease}},
	{"Boot program", []boot.StageName{boot.StageProbe, boot.StageLoader}},
	{"Script", []boot.StageName{boot.StageAutoexec, boot.StageScript, boot.StageMenu}},
	{"System files", []boot.StageName{boot.StageKernel, boot.StageFiles, boot.StageAnswer}},
	{"Runs", []boot.StageName{boot.StageInstaller, boot.StageSystem}},
}

// How a step stands; also its class in the style.
const (
	stepDone   = "done"   // passed
	stepNow    = "now"    // the machine is here
	stepBroken = "broken" // it ended here
	stepUnseen = "unseen" // passed without having been seen, or not needed
	stepAhead  = "ahead"  // not reached
)

// step is one step of the way of one boot.
type step struct {
	Title   string
	Status  string
	Word    string // the status, for those who do not see colours
	Caption string // what was seen
}

// stepOf is the index in way of a stage; -1 when it has none.
func stepOf(n boot.StageName) int {
	for i, w := range way {
		if slices.Contains(w.stages, n) {
			return i
		}
	}
	return -1
}

// brokenAt is the step at which a bad attempt ended. The verdict knows best;
// otherwise a stalled machine is missing from the step behind the last one that
// it completed.
func brokenAt(a *boot.Attempt) int {
	if i := stepOf(a.Verdict().Stage); i >= 0 {
		return i
	}
	i := stepOf(a.At)
	if i >= 0 && a.State == boot.AttemptStalled && a.Stage(a.At).Done && i < len(way)-1 {
		return i + 1
	}
	return max(i, 0)
}

// stepsOf is the way of an attempt.
func stepsOf(a *boot.Attempt) []step {
	list := make([]step, len(way))
	last := 0 // the furthest step of which anything was seen
	for i, w := range way {
		list[i] = step{Title: w.title, Status: stepAhead, Caption: caption(a, i)}
		for _, n := range w.stages {
			if a.Reached(n) {
				list[i].Status, last = stepDone, i
			}
		}
	}
	switch {
	case a.State.Bad():
		at := brokenAt(a)
		last = at
		for i := at + 1; i < len(list); i++ {
			if list[i].Status == stepDone { // seen nevertheless: an earlier round's, or it went on without it
				last = i
			}
		}
		list[at].Status = stepBroken
	case a.State == boot.AttemptRunning:
		list[last].Status = stepNow
	case a.State == boot.AttemptBooted:
		last = len(list) - 1
		if list[last].Status != stepDone {
			list[last].Status = stepDone
		}
	case a.State == boot.AttemptLocal:
		last = len(list) - 1
		list[last] = step{Title: "Local disk", Status: stepDone, Caption: "as decided"}
	case a.State == boot.AttemptIgnored:
		last = 0
	}
	for i := range last {
		if list[i].Status == stepAhead {
			list[i].Status = stepUnseen
		}
	}
	for i := range list {
		list[i].Word = stepWord(list[i].Status)
	}
	return list
}

func stepWord(status string) string {
	switch status {
	case stepDone:
		return "done"
	case stepNow:
		return "now"
	case stepBroken:
		return "stopped here"
	case stepUnseen:
		return "not seen"
	default:
		return "not reached"
	}
}

// caption says in a few words what was seen of a step.
func caption(a *boot.Attempt, i int) string {
	switch i {
	case 0:
		if s := a.Stage(boot.StageDiscover); s.Count > 1 {
			return join(strconv.Itoa(s.Count)+" times", over(s))
		}
	case 1:
		switch {
		case len(a.Shapes) > 1:
			return times(len(a.Shapes), "form", "forms") + " tried"
		case a.Reached(boot.StageAsk):
			return "asked on 4011"
		case a.Stage(boot.StageOffer).Count > 1:
			return times(a.Stage(boot.StageOffer).Count, "offer", "offers")
		}
	case 2:
		if a.Reached(boot.StageLease) && a.Addr.IsValid() {
			return a.Addr.String()
		}
	case 3:
		return carried(a.Stage(boot.StageLoader))
	case 4:
		if a.Profile != "" {
			return clean(a.Profile, shortText)
		}
		return actionWord(a.Action)
	case 5:
		s := a.Stage(boot.StageFiles)
		if !a.Reached(boot.StageFiles) || s.Reason != boot.ReasonNone {
			s = a.Stage(boot.StageKernel)
		} else {
			s.Bytes += a.Stage(boot.StageKernel).Bytes
			s.Total = 0
		}
		return carried(s)
	case 6:
		switch {
		case a.Reached(boot.StageInstaller):
			return "installer reports"
		case a.Reached(boot.StageSystem):
			return "system heard"
		}
	}
	return ""
}

// over is how long a stage took, when that says anything.
func over(s boot.Stage) string {
	if s.Took <= 0 {
		return ""
	}
	return "in " + took(s.Took)
}

// carried is how much of a stage's files arrived.
func carried(s boot.Stage) string {
	switch {
	case s.Count == 0:
		return ""
	case s.Total > 0 && s.Bytes < s.Total:
		return size(s.Bytes) + " of " + size(s.Total)
	case s.Bytes > 0:
		return size(s.Bytes)
	case s.Total > 0:
		return "0 of " + size(s.Total)
	}
	return ""
}

// percent of a running transfer; -1 when there is none or its end is unknown.
func percent(a *boot.Attempt) int {
	if a.State != boot.AttemptRunning {
		return -1
	}
	s := a.Stage(a.At)
	if s.Done || s.Total <= 0 || s.Bytes < 0 {
		return -1
	}
	return int(min(float64(s.Bytes)/float64(s.Total), 1) * 100)
}
