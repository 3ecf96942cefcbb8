package metrics

// Names of what is known of attempts, of the LAN, of the state and of the
// board. docs/monitoring.md describes every one of them.
const (
	NameAttempts        = "bootpuck_attempts_total"
	NameAttemptVerdicts = "bootpuck_attempt_verdicts_total"
	NameAttemptsActive  = "bootpuck_attempts_active"
	NameAttemptTime     = "bootpuck_attempt_duration_seconds"
	NameStageTime       = "bootpuck_attempt_stage_duration_seconds"
	NameAttemptDropped  = "bootpuck_attempt_events_dropped_total"
	NameScripts         = "bootpuck_script_renders_total"
	NameQuirkChanges    = "bootpuck_quirk_changes_total"
	NameFindings        = "bootpuck_lan_findings"
	NameResponders      = "bootpuck_responders"
	NameStandby         = "bootpuck_standby"
	NameLinkUp          = "bootpuck_link_up"
	NameLinkSpeed       = "bootpuck_link_speed_bytes_per_second"
	NameArmed           = "bootpuck_assignments_armed"
	NameStoreSize       = "bootpuck_store_size_bytes"
	NameStoreWrite      = "bootpuck_store_write_duration_seconds"
	NameStoreFailures   = "bootpuck_store_write_failures_total"
	NameStateFree       = "bootpuck_state_free_bytes"
	NameStateSize       = "bootpuck_state_size_bytes"
	NameClockSet        = "bootpuck_clock_synchronised"
	NameTemperature     = "bootpuck_board_temperature_celsius"
	NameThrottled       = "bootpuck_board_throttled"
	NameBoxInfo         = "bootpuck_box_info"
	NameCaptureBytes    = "bootpuck_capture_bytes_total"
	NameCapturePackets  = "bootpuck_capture_packets_total"
	NameCaptureDropped  = "bootpuck_capture_packets_dropped_total"
	NameSyslogLines     = "bootpuck_syslog_lines_total"
	NameSyslogDropped   = "bootpuck_syslog_lines_dropped_total"
	NameForwardDropped  = "bootpuck_log_forward_dropped_total"
)

// Names lists the names of all metrics of the box: those of Go and of the process
// come besides. Rules and dashboards must not name others.
func Names() []string {
	return []string{
		NameBuildInfo, NameStage, NameReplies, NameIgnored, NameReplyDuration, NameTFTPTransfers, NameTFTPActive, NameTFTPBytes,
		NameTFTPRetransmits, NameTFTPDuration, NameHTTPRequests, NameHTTPBytes, NameHTTPInFlight, NameHTTPDuration, NameEvents,
		NameWarnings, NameRivals, NameClients, NameHealthy, NameLogDropped, NameDecisions, NameMachines, NameWaiting,
		NameAttempts, NameAttemptVerdicts, NameAttemptsActive, NameAttemptTime, NameStageTime, NameAttemptDropped, NameScripts,
		NameQuirkChanges, NameFindings, NameResponders, NameStandby, NameLinkUp, NameLinkSpeed, NameArmed, NameStoreSize,
		NameStoreWrite, NameStoreFailures, NameStateFree, NameStateSize, NameClockSet, NameTemperature, NameThrottled, NameBoxInfo,
		NameCaptureBytes, NameCapturePackets, NameCaptureDropped, NameSyslogLines, NameSyslogDropped, NameForwardDropped,
	}
}
