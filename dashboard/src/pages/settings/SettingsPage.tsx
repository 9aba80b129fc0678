import { getRouteApi, Link } from "@tanstack/react-router";

import { type Session, useSession } from "@/api/project/session";
import { SETTINGS_PARTS, type SettingsPart } from "@/lib/addresses/settingsSearch";
import { Prose } from "@/components/basics/Prose";
import { Notice } from "@/components/page/Notice";
import { PageTitle } from "@/components/page/PageTitle";

import { Audit } from "./Audit";
import { BaseModels } from "./BaseModels";
import { Keys } from "./Keys";
import { Secrets } from "./Secrets";
import { Usage } from "./Usage";
import { Webhooks } from "./Webhooks";

const route = getRouteApi("/settings");

const NAMES: Record<SettingsPart, string> = {
  keys: "API keys",
  webhooks: "Webhooks",
  secrets: "Secrets",
  usage: "Usage",
  audit: "Audit log",
  models: "Base models",
};

export function SettingsPage() {

  const session = useSession();
  const { part = "keys" } = route.useSearch();
  if (!session) return null;
  return (
    <>
      <PageTitle title="Settings" />
      <p className="text-muted">
        Project <strong className="text-ink">{session.project.name}</strong>, signed in with the key{" "}
        <strong className="text-ink"><Prose text={session.key_name} /></strong> with the role{" "}
        <strong className="text-ink">{session.role}</strong>.
      </p>
      {session.role === "admin" ? <Sections part={part} session={session} /> : <NotForThisKey role={session.role} />}
    </>
  );
}

function Sections({ part, session }: { part: SettingsPart; session: Session }) {
  const project = session.project.id;
  return (
    <>
      <nav aria-label="Parts of the settings" className="flex flex-wrap gap-1 border-b border-line pb-2">
        {SETTINGS_PARTS.filter((one) => one !== "models" || session.is_operator).map((one) => (
          <Link
            key={one}
            to="/settings"
            search={one === "keys" ? {} : { part: one }}
            activeOptions={{ exact: true, includeSearch: true }}
            className="rounded px-2 py-1 aria-[current=page]:bg-tint aria-[current=page]:text-accent"
          >
            {NAMES[one]}
          </Link>
        ))}
      </nav>
      {part === "keys" && <Keys project={project} />}
      {part === "webhooks" && <Webhooks />}
      {part === "secrets" && <Secrets />}
      {part === "usage" && <Usage project={project} />}
      {part === "audit" && <Audit project={project} />}
      {part === "models" && (session.is_operator ? <BaseModels /> : <NotTheOperator />)}
    </>
  );
}

function NotTheOperator() {
  return (
    <Notice>
      <p>The base models on offer are the operator&apos;s. Ask the operator for a model that you miss.</p>
      <p className="text-muted">
        An admin key of the operator&apos;s project may change them: <code className="font-mono">TUNERY_OPERATOR_PROJECT</code>{" "}
        names that project.
      </p>
    </Notice>
  );
}

function NotForThisKey({ role }: { role: string }) {
  return (
    <Notice>
      <p>
        Keys, webhooks, secrets, usage and the audit log are for administrators of the project. This key has the role{" "}
        {role}.
      </p>
      <p className="text-muted">
        <code className="font-mono">tunery keys create --role admin</code> makes a key that may manage them. Sign in with
        that key.
      </p>
    </Notice>
  );
}
