"""The methods of PEFT that this release does not offer, each with the reason.

A test requires every method of PEFT to be either here or in `METHODS`, so that somebody decides about each
new one.
"""

NOT_OFFERED: dict[str, str] = {
    "multitask_prompt_tuning": "every row would have to name its task",
    "poly": "every row would have to name its task",
    "cpt": "every row would have to mark its template, context and answer",
    "cartridge": "it begins with a long text and learns from conversations about it, which a job does not "
    "have",
    "xlora": "it mixes LoRA adapters that were trained before, which a job does not have",
    "adaption_prompt": "it replaces attention, which is computed here for packed rows",
    "lily": "it mixes by an average over all tokens of a step, so a row's loss would depend on other rows",
    "pvera": "it draws noise in each step from a random state that no checkpoint has; without noise it is "
    "VeRA",
    "shadow": "it trains a second model beside the base model, with a loss of its own",
    "osf": "it trains half of the directions of each weight, and its result is about as large as the base "
    "model",
    "frod": "it decomposes the weights of all layers together whenever a job starts or resumes, and "
    "publishes square matrices as wide as the layers",
    "psoft": "it publishes a rotation of singular vectors without the vectors, whose signs may differ where "
    "the result is loaded",
    "adamss": "it needs scikit-learn, to cluster the singular vectors of each weight whenever it is loaded",
}
