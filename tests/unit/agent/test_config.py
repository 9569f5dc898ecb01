"""Settings: what wins, and what a wrong one is told."""

from pathlib import Path

import pytest

from agent.config import NAMES, AgentConfig, ConfigError, load_config


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return path


def test_flags_win_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    file = _file(tmp_path, 'rpc_port = 1001\nengine_port = 1002\nlog_level = "debug"\n')
    environment = {"DAALU_AGENT_RPC_PORT": "2001", "DAALU_AGENT_ENGINE_PORT": "2002", "OTHER": "x"}
    config = load_config(file, environment, {"rpc_port": "3001", "engine_port": None})
    assert (config.rpc_port, config.engine_port, config.log_level) == (3001, 2002, "debug")


def test_without_anything_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.config.DEFAULT_FILE", tmp_path / "absent.toml")
    assert load_config(None, {}, dict.fromkeys(NAMES)) == AgentConfig()


def test_the_engines_environment_is_merged_by_name(tmp_path: Path) -> None:
    file = _file(tmp_path, '[engine_environment]\nVLLM_CPU_KVCACHE_SPACE = "1"\nA = "file"\n')
    config = load_config(file, {}, {"engine_environment": ["A=flag=1", "B="]})
    assert config.engine_environment == {"VLLM_CPU_KVCACHE_SPACE": "1", "A": "flag=1", "B": ""}


def test_an_unknown_key_names_the_file_the_key_and_what_is_accepted(tmp_path: Path) -> None:
    file = _file(tmp_path, "rpcport = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, {}, {})
    assert str(file) in str(caught.value)
    assert "rpcport" in str(caught.value)
    assert "rpc_port" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "accepted"),
    [
        ("rpc_port = 70000", "1 to 65535"),
        ("rpc_port = true", "1 to 65535"),
        ("rpc_port = 'ssh'", "1 to 65535"),
        ("rpc_port = 1.5", "1 to 65535"),
        ("state = 'relative/path'", "absolute path"),
        ("interface = 'sixteen-letters-'", "at most 15"),
        ("interface = 'a b'", "at most 15"),
        ("interface = '../x'", "at most 15"),
        ("log_level = 'loud'", "debug, info, warning, error"),
        ("simulated_card = ''", "a card's name"),
        ("engine_environment = {A = 1}", "NAME=VALUE"),
        ("engine_environment = {PYTHONPATH = '/mine'}", "DAALU_GATE_CONFIG, PYTHONPATH"),
        ("engine_environment = {DAALU_GATE_CONFIG = '/mine'}", "the agent sets itself"),
        (r'models = "/a\u0000b"', "an absolute path"),
        ("engine_environment = {'A B' = 'x'}", "NAME=VALUE"),
    ],
)
def test_a_bad_value_names_the_file_the_key_and_what_is_accepted(
    tmp_path: Path, line: str, accepted: str
) -> None:
    file = _file(tmp_path, line)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {}, {})
    assert str(file) in str(caught.value)
    assert line.split(" ", maxsplit=1)[0] in str(caught.value)
    assert accepted in str(caught.value)


def test_a_bad_variable_and_a_bad_flag_name_themselves() -> None:
    with pytest.raises(ConfigError, match="DAALU_AGENT_RPC_PORT"):
        load_config(None, {"DAALU_AGENT_RPC_PORT": "x"}, {})
    with pytest.raises(ConfigError, match="--engine-python"):
        load_config(None, {}, {"engine_python": "python"})


def test_a_file_that_is_not_toml_or_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(_file(tmp_path, "rpc_port 1"), {}, {})
    with pytest.raises(ConfigError, match="absent"):
        load_config(tmp_path / "absent", {}, {})


def test_one_port_cannot_serve_both() -> None:
    with pytest.raises(ConfigError, match="two different ports"):
        load_config(None, {}, {"rpc_port": 7400})


def test_none_takes_an_optional_value_back(tmp_path: Path) -> None:
    file = _file(tmp_path, "simulated_card = 'Some Card'\ncatalogue = '/srv/models'\n")
    config = load_config(file, {}, {"simulated_card": "none", "catalogue": "none"})
    assert (config.simulated_card, config.catalogue) == (None, None)
