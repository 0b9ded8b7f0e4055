# mcrun as a service of NixOS: `imports = [ ./module.nix ]; services.mcrun = { enable = true; package = …; settings = { … }; };`
#
# `settings` becomes mcrun.toml; `deploy/mcrun.toml` explains every key. Nothing secret belongs there: it is readable by all.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.mcrun;
  toml = pkgs.formats.toml { };
  configFile = toml.generate "mcrun.toml" cfg.settings;
  command = "${lib.getExe cfg.package} --state ${cfg.stateDir} --config ${configFile}";
  # What systemd listens at for the daemon.
  socket = "/run/mcrun/api.sock";
  # Names and routes are the edge's; without an address it has nothing to do.
  hasEdge = (cfg.settings.dns.listen or [ ]) != [ ] || (cfg.settings.routes.addresses or [ ]) != [ ];
in
{
  options.services.mcrun = {
    enable = lib.mkEnableOption "mcrun, which runs playbooks, names, routes and certificates of a small fleet";

    package = lib.mkOption {
      type = lib.types.package;
      description = "The package that has `bin/mcrun`.";
    };

    stateDir = lib.mkOption {
      type = lib.types.path;
      default = "/var/lib/mcrun";
      description = "The state directory: journal, keys, zones, records.";
    };

    settings = lib.mkOption {
      type = toml.type;
      default = { };
      example = lib.literalExpression ''
        {
          node.name = "rift";
          dns.listen = [ "192.168.88.181" ];
          playbooks.folders = [ "/etc/mcrun/playbooks" ];
        }
      '';
      description = "What mcrun.toml says.";
    };

    group = lib.mkOption {
      type = lib.types.str;
      default = "mcrun";
      description = "The group whose members may use the socket of the API, and with it all that the daemon may do.";
    };
  };

  config = lib.mkIf cfg.enable {
    users.groups.${cfg.group} = { };
    environment.systemPackages = [ cfg.package ];
    # The command line reads the same file as the daemon, and finds its socket there.
    environment.etc."mcrun/mcrun.toml".source = configFile;
    services.mcrun.settings.daemon.api = {
      socket = lib.mkDefault socket;
      group = lib.mkDefault cfg.group;
    };
    systemd.tmpfiles.rules = [
      "d ${cfg.stateDir} 0700 root root -"
      "d /run/mcrun 0755 root root -"
    ];

    systemd.sockets.mcrun = {
      description = "mcrun: the socket of the API";
      wantedBy = [ "sockets.target" ];
      listenStreams = [ socket ];
      socketConfig = {
        FileDescriptorName = "api";
        SocketGroup = cfg.group;
        SocketMode = "0660";
        RemoveOnStop = true;
      };
    };

    systemd.services.mcrun = {
      description = "mcrun: playbooks, names, routes, certificates";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      requires = [ "mcrun.socket" ];
      after = [ "network-online.target" "mcrun.socket" "mcrun-edge.service" "podman.socket" "docker.service" ];
      # An update of the system restarts the daemon alone; workloads and the edge go on.
      startLimitIntervalSec = 0;
      serviceConfig = {
        Type = "notify";
        NotifyAccess = "main";
        ExecStart = "${command} serve";
        ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
        Restart = "always";
        RestartSec = 1;
        RestartSteps = 5;
        RestartMaxDelaySec = 10;
        RestartPreventExitStatus = 2;
        TimeoutStartSec = "5min";
        TimeoutStopSec = 90;
        WatchdogSec = 30;
        KillMode = "process";
        OOMPolicy = "continue";
        LogsDirectory = "mcrun";
        LogsDirectoryMode = "0750";
        LimitNOFILE = 65536;
        TasksMax = "infinity";
        LimitCORE = 0;
        KeyringMode = "private";
        LockPersonality = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = "~@obsolete @cpu-emulation @swap @raw-io";
        SystemCallErrorNumber = "EPERM";
      };
    };

    systemd.services.mcrun-boot = {
      description = "mcrun: the boot of the platform, stage by stage";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" "mcrun.service" ];
      after = [ "network-online.target" "mcrun.service" "podman.socket" "docker.service" ];
      # It belongs to the start of the machine: an update of the system runs it no second time.
      restartIfChanged = false;
      unitConfig.ConditionPathExists = "/etc/mcrun/scripts/boot.lua";
      serviceConfig = {
        Type = "oneshot";
        ExecStart = "${command} --no-input boot --wait=10m /etc/mcrun/scripts/boot.lua";
        KillMode = "process";
        TimeoutStartSec = "infinity";
        LimitCORE = 0;
      };
    };

    systemd.services.mcrun-edge = lib.mkIf hasEdge {
      description = "mcrun: the name server and the proxy, before and without everything else";
      wantedBy = [ "sysinit.target" ];
      # It is succeeded by another edge, never restarted: what it holds are the sockets of names and routes.
      restartIfChanged = false;
      startLimitIntervalSec = 0;
      unitConfig.DefaultDependencies = false;
      after = [ "local-fs.target" "systemd-tmpfiles-setup.service" ];
      before = [ "nss-lookup.target" "network-online.target" "shutdown.target" ];
      wants = [ "nss-lookup.target" ];
      conflicts = [ "shutdown.target" ];
      serviceConfig = {
        ExecStart = "${command} -v edge";
        Restart = "on-failure";
        RestartSec = "500ms";
        # Without an address there is nothing to do for it (exit 2).
        RestartPreventExitStatus = 2;
        SuccessExitStatus = 2;
        LogsDirectory = "mcrun";
        LogsDirectoryMode = "0750";
        LimitNOFILE = 65536;
        LimitCORE = 0;
        OOMScoreAdjust = -900;
        NoNewPrivileges = true;
        CapabilityBoundingSet = [ "CAP_NET_BIND_SERVICE" "CAP_DAC_OVERRIDE" "CAP_SYS_RESOURCE" ];
        ProtectSystem = "strict";
        ReadWritePaths = [ cfg.stateDir ];
        ProtectHome = "read-only";
        PrivateTmp = true;
        PrivateDevices = true;
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        RestrictAddressFamilies = [ "AF_INET" "AF_INET6" "AF_UNIX" "AF_NETLINK" ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [ "@system-service" "~@resources @obsolete" "setrlimit prlimit64" ];
        SystemCallErrorNumber = "EPERM";
        KeyringMode = "private";
        UMask = "0077";
      };
    };
  };
}
