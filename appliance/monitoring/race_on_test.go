//go:build race

package monitoring

// raceEnabled says that the tests run under the race detector.
const raceEnabled = true
