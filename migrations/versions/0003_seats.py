"""the seats of people who sign on by an OpenID provider, and who created a key"""

from alembic import op

revision = "0003"
down_revision = "0002"
phase = "expand"
harmless = dict.fromkeys(("fk_seats_project_id", "fk_seats_key_id"), "no release deletes projects or keys")

CREATE = """
CREATE TABLE seats (
    issuer varchar,
    subject varchar,
    project_id varchar CONSTRAINT fk_seats_project_id REFERENCES projects,
    key_id varchar NOT NULL CONSTRAINT fk_seats_key_id REFERENCES api_keys
        CONSTRAINT uq_seats_key_id UNIQUE,
    chosen_at timestamptz,
    CONSTRAINT pk_seats PRIMARY KEY (issuer, subject, project_id)
)
"""


def upgrade() -> None:
    op.execute(CREATE)
    op.execute("ALTER TABLE api_keys ADD COLUMN created_by varchar")
