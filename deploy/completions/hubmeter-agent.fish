# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_hubmeter_agent_global_optspecs
    string join \n h/help V/version
end

function __fish_hubmeter_agent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_hubmeter_agent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_hubmeter_agent_using_subcommand
    set -l cmd (__fish_hubmeter_agent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c hubmeter-agent -n "__fish_hubmeter_agent_needs_command" -s h -l help -d 'Print help'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_needs_command" -s V -l version -d 'Print version'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_needs_command" -f -a "run" -d 'Watch a server and stream what it uses; with CMD, start that server and end with its code'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_needs_command" -f -a "sample" -d 'Print what a server and its workloads use now'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_needs_command" -f -a "doctor" -d 'Say in words what is measured here, how, and what cannot be seen'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_needs_command" -f -a "disk" -d 'Say how full a file system is, in place of an agent that must not hang there'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand run" -l pid -d 'The server\'s root process [default: the parent process]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand run" -l interval -d 'Time between samples: `5s`, `1m`, bare seconds; 1s to 60s [env: HUBMETER_INTERVAL] [default: 5s]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand run" -l pss-budget -d 'CPU time that reading proportional set sizes again may take on average, in per cent of a core; 0 to 5, 0 reads each process once [env: HUBMETER_PSS_BUDGET] [default: 0.02]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand run" -l socket -d 'Where the meter\'s socket is, never under the home [env: HUBMETER_SOCKET] [default: $XDG_RUNTIME_DIR/hubmeter/, else /tmp/hubmeter-<uid>/]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand run" -l names -d 'How much of notebooks\' names leaves this machine: base (file names), full (with folders), none [env: HUBMETER_NAMES] [default: base]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand run" -l collector -d 'Collector to stream to: grpcs://host:port, wss://host/services/hubmeter/link, grpc://host:port (loopback) or unix:///path. Of several with blanks between them the first that works is used [env: HUBMETER_COLLECTOR] [default: none, everything stays on this machine]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand run" -l token-file -d 'File with the server\'s hub token, read anew at each connect [env: HUBMETER_TOKEN_FILE] [default: the token in JUPYTERHUB_API_TOKEN]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand run" -l ca-file -d 'Certificates that vouch for the collector, read anew at each connect [env: HUBMETER_CA_FILE] [default: the machine\'s]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand run" -l name -d 'Name of this server for a collector without a hub [env: HUBMETER_NAME]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand run" -l api-url -d 'The collector\'s HTTP API, for people and scripts [env: HUBMETER_API_URL] [default: what the collector says]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand run" -l allow-plaintext -d 'Allow grpc:// beyond loopback, where the network itself is trusted [env: HUBMETER_ALLOW_PLAINTEXT]'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand run" -s h -l help -d 'Print help'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand sample" -l pid -d 'The server\'s root process [default: the nearest Jupyter server above this process, else the leader of its login session, else its parent]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand sample" -l format -d 'How to print' -r -f -a "table\t'Aligned columns with units, for people'
json\t'One JSON object a line, for programs'"
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand sample" -l every -d 'Go on sampling at this distance: `500ms`, `5s`, `1m`, bare seconds; 100ms to 1h' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand sample" -l count -d 'Stop after so many samples, 5 s apart without --every [default: 1, endless with --every]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand sample" -l pss -d 'Read proportional set sizes at every sample, or rarely within a budget of time' -r -f -a "always\t'At every sample'
budget\t'Rarely, within a budget of time; what `run` does'"
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand sample" -l pss-budget -d 'With `--pss budget`: what that may take on average, in per cent of a core; 0 to 5, 0 reads each process once' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand sample" -l reader -d 'Read /proc and cgroups, or what every system offers (no limit, no cgroup, no PSS)' -r -f -a "linux\t'`/proc` and cgroups'
sysinfo\t'The portable library'"
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand sample" -l names -d 'How much of names to show' -r -f -a "base\t'Kernel specs and notebooks\' file names, without folders'
full\t'Notebooks with their whole path'
none\t'No names at all: kinds and ids only'"
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand sample" -l details -d 'Show what else slows the server or ends it: input and output, disk, open files, the machine'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand sample" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand doctor" -l pid -d 'The server\'s root process [default: the nearest Jupyter server above this process, else the leader of its login session, else its parent]' -r
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand doctor" -l format -d 'How to print' -r -f -a "table\t'Aligned columns with units, for people'
json\t'One JSON object a line, for programs'"
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand disk" -s h -l help -d 'Print help'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand help; and not __fish_seen_subcommand_from run sample doctor disk help" -f -a "run" -d 'Watch a server and stream what it uses; with CMD, start that server and end with its code'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand help; and not __fish_seen_subcommand_from run sample doctor disk help" -f -a "sample" -d 'Print what a server and its workloads use now'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand help; and not __fish_seen_subcommand_from run sample doctor disk help" -f -a "doctor" -d 'Say in words what is measured here, how, and what cannot be seen'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand help; and not __fish_seen_subcommand_from run sample doctor disk help" -f -a "disk" -d 'Say how full a file system is, in place of an agent that must not hang there'
complete -c hubmeter-agent -n "__fish_hubmeter_agent_using_subcommand help; and not __fish_seen_subcommand_from run sample doctor disk help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
