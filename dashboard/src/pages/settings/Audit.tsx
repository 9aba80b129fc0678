import { useAuditLog, useKeys } from "@/api/project/settings";
import { actionOf, actorOf, detailsOf } from "@/lib/facts/auditFacts";
import { dateTime } from "@/lib/text/format";
import { PagedList } from "@/parts/tables/PagedList";
import { Section } from "@/parts/page/Section";

export function Audit({ project }: { project: string }) {
  const log = useAuditLog(project);
  const keys = useKeys(project).items ?? [];
  return (
    <Section title="Audit log">
      <PagedList list={log} empty="Nothing was done yet.">
        <table className="data-table">
          <thead>
            <tr>
              <th scope="col">When</th>
              <th scope="col" className="hidden md:table-cell">
                Who
              </th>
              <th scope="col">What</th>
            </tr>
          </thead>
          <tbody>
            {log.items?.map((entry) => (
              <tr key={entry.id} className="align-top">
                <td className="w-44 whitespace-nowrap max-md:w-28 max-md:whitespace-normal">
                  {dateTime(entry.effective_at)}
                </td>
                <td className="hidden break-all md:table-cell">{actorOf(entry, keys)}</td>
                <td>
                  {actionOf(entry)}
                  <span className="fact block md:hidden">by {actorOf(entry, keys)}</span>
                  <code className="block font-mono text-xs break-all text-muted">{entry.resource_id}</code>
                  {entry.details && <span className="fact block break-all">{detailsOf(entry)}</span>}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </PagedList>
    </Section>
  );
}
