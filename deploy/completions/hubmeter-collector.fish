# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_hubmeter_collector_global_optspecs
    string join \n h/help V/version
end

function __fish_hubmeter_collector_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_hubmeter_collector_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_hubmeter_collector_using_subcommand
    set -l cmd (__fish_hubmeter_collector_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c hubmeter-collector -n "__fish_hubmeter_collector_needs_command" -s h -l help -d 'Print help'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_needs_command" -s V -l version -d 'Print version'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_needs_command" -f -a "serve" -d 'Takes reports from agents and answers people and scripts'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_needs_command" -f -a "check-config" -d 'Tells every mistake in a settings file'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_needs_command" -f -a "replay" -d 'Judges a recorded series as if it were live'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_needs_command" -f -a "export" -d 'Writes what is kept, as files for other tools'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_needs_command" -f -a "cull" -d 'Stops servers that are idle, in place of jupyterhub-idle-culler'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_needs_command" -f -a "forget" -d 'Erases every trace of a user, also while a collector runs'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_needs_command" -f -a "backup" -d 'Copies everything that is kept to a new directory, also while a collector runs'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_needs_command" -f -a "notice" -d 'Shows what a notice looks like, and tells nobody'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand serve" -l config -d 'Settings file (TOML)' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand serve" -l data-dir -d 'Where inbox, state and history are kept' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand serve" -l listen -d 'Where people and scripts come in: host:port or unix:/path' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand serve" -l link-listen -d 'Where agents come in' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand serve" -l metrics-listen -d '/metrics alone, open to whoever reaches it' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand serve" -l standalone -d 'No hub: who calls is told by the kernel; loopback and Unix sockets only'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand serve" -s h -l help -d 'Print help'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand replay" -l limit-bytes -d 'The limit for rows that bring none' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand replay" -l format -d 'How rows are written' -r -f -a "table\t''
json\t''"
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand replay" -s h -l help -d 'Print help'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and not __fish_seen_subcommand_from samples usage hub-activity help" -s h -l help -d 'Print help'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and not __fish_seen_subcommand_from samples usage hub-activity help" -f -a "samples" -d 'What one server used, a row for each sample, to standard output'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and not __fish_seen_subcommand_from samples usage hub-activity help" -f -a "usage" -d 'What users or groups used, measured, per day, week or month, as CSV to standard output'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and not __fish_seen_subcommand_from samples usage hub-activity help" -f -a "hub-activity" -d 'How many people were active on the hub, as CSV to standard output'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and not __fish_seen_subcommand_from samples usage hub-activity help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from samples" -l user -d 'The hub\'s name of the user' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from samples" -l server -d 'The server\'s name; the default server unless told' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from samples" -l from -d 'From, included: RFC 3339, "YYYY-MM-DD HH:MM:SS" in UTC, or before now such as -1h' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from samples" -l to -d 'To, not included; the same' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from samples" -l columns -d 'Names with commas between, in the order they are written; or all' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from samples" -l format -d 'How it is written' -r -f -a "csv\t''
parquet\t''"
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from samples" -l config -d 'The collector\'s settings file, for its data_dir' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from samples" -l data-dir -d 'Where the collector keeps inbox, state and history' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from samples" -l no-header -d 'Rows only'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from samples" -l burst -d 'Also the samples between base intervals, while something moved'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from samples" -s h -l help -d 'Print help'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from usage" -l by -d 'Whose use makes a row' -r -f -a "user\t''
group\t''"
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from usage" -l window -d 'Over how much time a row adds up, in UTC; weeks begin on Monday' -r -f -a "day\t''
week\t''
month\t''"
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from usage" -l from -d 'The first window holds this: YYYY-MM-DD, RFC 3339, or before now such as -30d. Unless told 30 days, 26 weeks or 12 months ago' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from usage" -l to -d 'The windows end before this; the same, and now unless told' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from usage" -l user -d 'Only this user\'s' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from usage" -l group -d 'Only users of this group' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from usage" -l config -d 'The collector\'s settings file, for its data_dir' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from usage" -l data-dir -d 'Where the collector keeps inbox, state and history' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from usage" -s h -l help -d 'Print help'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from hub-activity" -l form -d 'A row each for a day, a week and a month, or distinct people of a month' -r -f -a "scales\t''
unique\t''"
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from hub-activity" -l config -d 'The collector\'s settings file, for its data_dir' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from hub-activity" -l data-dir -d 'Where the collector keeps inbox, state and history' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from hub-activity" -s h -l help -d 'Print help'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from help" -f -a "samples" -d 'What one server used, a row for each sample, to standard output'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from help" -f -a "usage" -d 'What users or groups used, measured, per day, week or month, as CSV to standard output'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from help" -f -a "hub-activity" -d 'How many people were active on the hub, as CSV to standard output'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand export; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l url -d 'The hub\'s API, http, https or http+unix [default: JUPYTERHUB_API_URL]' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l collector -d 'The collector, with its prefix [default: HUBMETER_API_URL, else the service hubmeter on this machine]' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l timeout -d 'Stop what is idle for so long [default: what the collector\'s policy says for each]' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l max-age -d 'Stop what is older, at work or not; 0 never does [default: the collector\'s policy]' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l cull-every -d 'From one round to the next [default: half of --timeout, else 300]' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l concurrency -d 'Requests to the hub at once, 100 at most' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l api-page-size -d 'Users per page of the hub\'s list; 0 for the hub\'s own largest' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l cull-users -d 'Delete users, too, who have no server and no activity for as long (600 s without --timeout)' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l cull-admin-users -d 'Admins among them [default: true]' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l cull-default-servers -d 'Stop default servers [default: true]' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l cull-named-servers -d 'Stop named servers [default: true]' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l remove-named-servers -d 'Forget named servers as well when they are stopped' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l ssl-enabled -d 'The hub has internal_ssl: show its certificate, trust its authority' -r
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l internal-certs-location -d 'Where the hub wrote them' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l config -d 'Settings of jupyterhub-idle-culler 2, which are Python: not read, with a warning' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l format -d 'How a round is written: a table (of --once and --dry-run), or a line of JSON for each server' -r -f -a "table\t''
json\t''"
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l no-cull-users
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l no-cull-admin-users
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l no-cull-default-servers
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l no-cull-named-servers
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l no-remove-named-servers
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l no-ssl-enabled
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l once -d 'One round, then end'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -l dry-run -d 'Stop nothing, only say what would be; one round unless --cull-every is given'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand cull" -s h -l help -d 'Print help'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand forget" -l config -d 'Settings file (TOML)' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand forget" -l data-dir -d 'Where inbox, state and history are kept' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand forget" -l format -d 'How the answer is written' -r -f -a "table\t''
json\t''"
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand forget" -l dry-run -d 'Only tell what is kept'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand forget" -s h -l help -d 'Print help'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand backup" -l config -d 'Settings file (TOML)' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand backup" -l data-dir -d 'Where inbox, state and history are kept' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand backup" -s h -l help -d 'Print help'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand notice" -l preview -d 'Shows the mail of an example of this rule' -r -f -a "runaway_memory\t''
near_limit\t''
killed\t''
runaway_cpu\t''
process_storm\t''
thread_storm\t''
idle_hog\t''
idle\t''
overuse\t''
disk_near_limit\t''
silent\t''
start_failures\t''"
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand notice" -l format -d 'What of it: subject and text, the HTML as a browser shows it, or the picture alone' -r -f -a "text\t''
html\t''
png\t''"
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand notice" -l to -d 'To whom' -r -f -a "admin\t''
user\t''"
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand notice" -l config -d 'Settings file (TOML): for links, runbooks and templates' -r -F
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand notice" -s h -l help -d 'Print help'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand help; and not __fish_seen_subcommand_from serve check-config replay export cull forget backup notice help" -f -a "serve" -d 'Takes reports from agents and answers people and scripts'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand help; and not __fish_seen_subcommand_from serve check-config replay export cull forget backup notice help" -f -a "check-config" -d 'Tells every mistake in a settings file'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand help; and not __fish_seen_subcommand_from serve check-config replay export cull forget backup notice help" -f -a "replay" -d 'Judges a recorded series as if it were live'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand help; and not __fish_seen_subcommand_from serve check-config replay export cull forget backup notice help" -f -a "export" -d 'Writes what is kept, as files for other tools'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand help; and not __fish_seen_subcommand_from serve check-config replay export cull forget backup notice help" -f -a "cull" -d 'Stops servers that are idle, in place of jupyterhub-idle-culler'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand help; and not __fish_seen_subcommand_from serve check-config replay export cull forget backup notice help" -f -a "forget" -d 'Erases every trace of a user, also while a collector runs'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand help; and not __fish_seen_subcommand_from serve check-config replay export cull forget backup notice help" -f -a "backup" -d 'Copies everything that is kept to a new directory, also while a collector runs'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand help; and not __fish_seen_subcommand_from serve check-config replay export cull forget backup notice help" -f -a "notice" -d 'Shows what a notice looks like, and tells nobody'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand help; and not __fish_seen_subcommand_from serve check-config replay export cull forget backup notice help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand help; and __fish_seen_subcommand_from export" -f -a "samples" -d 'What one server used, a row for each sample, to standard output'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand help; and __fish_seen_subcommand_from export" -f -a "usage" -d 'What users or groups used, measured, per day, week or month, as CSV to standard output'
complete -c hubmeter-collector -n "__fish_hubmeter_collector_using_subcommand help; and __fish_seen_subcommand_from export" -f -a "hub-activity" -d 'How many people were active on the hub, as CSV to standard output'
