"""Signs the files of an export with the operator's key, as the package model-signing does."""

from pathlib import Path

SIGNATURE = "model.sig"
HOW_TO_CHECK = """
## Signature

`model.sig` signs all other files. With the public key of the service's operator:

```shell
pip install model-signing pyopenssl
cd path/to/this/folder
model_signing verify key . --signature model.sig --public_key path/to/signing-key.pub
```

In a folder with further files, such as a hub's repository, add `--ignore_unsigned_files`.
"""


def sign_folder(folder: Path, key_file: Path) -> None:
    """Write model.sig, over all files of the folder."""
    from model_signing.signing import Config  # only here: it loads a client of Sigstore

    Config().use_elliptic_key_signer(private_key=key_file).sign(folder, folder / SIGNATURE)
