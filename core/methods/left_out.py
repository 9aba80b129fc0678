"""Methods that PEFT has and this release does not offer, each with the reason.

Every type of PEFT's stands either here or in `OFFERED`, so that somebody decides when PEFT has a new one.
"""

LEFT_OUT: dict[str, str] = {
    "multitask_prompt_tuning": "every row would have to name its task",
    "poly": "every row would have to name its task",
    "cpt": "every row would have to tell its template, context and answer apart",
    "cartridge": "it begins with a long text and learns from conversations about it, which a job lacks",
    "xlora": "it mixes LoRA adapters that have been trained before, which a job lacks",
    "adaption_prompt": "it takes the place of attention, which is computed here for packed rows",
    "lily": "it mixes by the average over all tokens of a step, so that a row's loss depends on other rows",
    "pvera": "it draws noise in each step, from a state that no checkpoint has; without noise it is VeRA",
    "shadow": "it trains a second model beside the base, with a loss of its own",
    "osf": "it trains half of each weight's directions; the result is about as large as the base model",
    "frod": "it decomposes all layers' weights together whenever a job starts or goes on, and publishes "
    "square matrices as wide as the layers",
    "psoft": "it publishes a rotation of singular vectors without the vectors, whose signs may differ where "
    "it is loaded",
    "adamss": "it needs scikit-learn, to cluster the singular vectors of each weight whenever it is loaded",
}
