import { useAuditLog, useKeys } from "@/api/project/settings";
import { actionOf, actorOf, detailsOf } from "@/lib/facts/auditFacts";
import { dateTime } from "@/lib/text/format";
import { Section } from "@/components/page/Section";
import type { Column } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import { PagedList } from "@/components/tables/PagedList";
import type { ApiKey, AuditLog } from "@/types/api";

export function Audit({ project }: { project: string }) {
  const log = useAuditLog(project);
  const keys = useKeys(project).items ?? [];
  return (
    <Section title="Audit log">
      <PagedList list={log} empty="No action yet.">
        {(entries) => (
          <DataTable columns={columnsOf(keys)} rows={entries} keyOf={({ id }) => id} rowClasses={() => "align-top"} />
        )}
      </PagedList>
    </Section>
  );
}

function columnsOf(keys: readonly ApiKey[]): Column<AuditLog>[] {
  return [
    {
      name: "When",
      className: "w-44 whitespace-nowrap max-md:w-28 max-md:whitespace-normal",
      cell: ({ effective_at }) => dateTime(effective_at),
    },
    { name: "Who", shownFrom: "md", className: "break-all", cell: (entry) => actorOf(entry, keys) },
    {
      name: "What",
      cell: (entry) => (
        <>
          {actionOf(entry)}
          <code className="block font-mono text-xs break-all text-muted">{entry.resource_id}</code>
          {entry.details && <span className="fact block break-all">{detailsOf(entry)}</span>}
        </>
      ),
      below: (entry) => <>by {actorOf(entry, keys)}</>,
    },
  ];
}
