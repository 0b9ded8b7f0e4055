# What `deploy/nixos/module.nix` configures, without nixpkgs: of its library there is only what the module uses, and nothing is
# merged. A name that the module uses and that is missing here is an error.
{ module }:
let
  lib = {
    getExe = package: "${package}/bin/mcrun";
    literalExpression = text: text;
    mkDefault = value: value;
    mkEnableOption = _: { };
    mkIf = condition: content: if condition then content else { };
    mkOption = option: option;
    types = { package = null; path = null; str = null; };
  };
  pkgs = {
    coreutils = "/coreutils";
    formats.toml = _: { type = null; generate = name: _: "/generated/${name}"; };
  };
  cfg = {
    enable = true;
    package = "/package";
    stateDir = "/var/lib/mcrun";
    group = "operators";
    settings.dns.listen = [ "192.0.2.1" ];
  };
in
(import module { inherit lib pkgs; config.services.mcrun = cfg; }).config
