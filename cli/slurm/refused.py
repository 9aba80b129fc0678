"""Options of sbatch with which `tunery slurm` would not find again what it has submitted."""

WHY = {
    "--array": "squeue shows an array under other numbers",
    "--clusters": "squeue does not show the jobs of another cluster",
    "--uid": "squeue shows only the jobs of this user",
    "--wait": "sbatch would wait for the end of the worker",
    "--test-only": "nothing would be submitted",
}
SHORT = {"-a": "--array", "-M": "--clusters", "-W": "--wait"}
VARIABLES = {"SBATCH_ARRAY_INX", "SBATCH_CLUSTERS", "SBATCH_WAIT", "SLURM_CLUSTERS"}


def refusal(option: str) -> str | None:
    """Return why an option cannot be used, or None. sbatch knows each option by its beginning, too."""
    if option == ":":
        return "a job of several parts has several numbers in squeue"
    if short := SHORT.get(option[:2]):
        return WHY[short]
    name = option.partition("=")[0]
    return next((why for full, why in WHY.items() if len(name) > len("--") and full.startswith(name)), None)
