import { exportContentPath } from "@/api/project/adapters";
import { useMayWrite } from "@/api/project/session";
import { useWork, useWorkList } from "@/api/work/work";
import { exactness, exportRequest, FORMATS, formatWords, isQuantized, pushedTo, QUANTIZATIONS, takesRank } from "@/lib/facts/exportFacts";
import { bytes } from "@/lib/text/format";
import { DownloadLink } from "@/components/basics/DownloadLink";
import { DataForm } from "@/components/forms/DataForm";
import type { Field } from "@/components/forms/Fields";
import { Section } from "@/components/page/Section";
import { PagedList } from "@/components/tables/PagedList";
import { WorkLine } from "@/components/work/WorkLine";
import type { Adapter, Export } from "@/types/api";

const MOST_RANKS = 256;

/** Other forms of the adapter, for runtimes that do not load PEFT's files. */
export function Exports({ adapter }: { adapter: Adapter }) {
  const exports = useWorkList("export", adapter.id);
  const mayWrite = useMayWrite();
  return (
    <Section id="exports" title="Exports">
      <p className="px-4 pb-3 text-muted">The adapter in the form of another runtime. The service converts it.</p>
      {mayWrite && <ExportForm adapter={adapter} />}
      <PagedList list={exports} empty="No export.">
        {(items) => (
          <ul>
            {items.map((one) => (
              <ExportLine key={one.id} one={one} />
            ))}
          </ul>
        )}
      </PagedList>
    </Section>
  );
}

type Name = "format" | "quantization" | "rank" | "address" | "secret";

const FIELDS: readonly Field<Name>[] = [
  { name: "format", label: "Format", options: FORMATS.map(({ format, name }) => [format, name]) },
  {
    name: "quantization",
    label: "Weights",
    options: QUANTIZATIONS.map((one) => [one, one]),
    isShown: ({ format }) => isQuantized(format),
  },
  {
    name: "rank",
    label: "Rank (empty: as it is)",
    className: "w-40",
    type: "number",
    min: 1,
    max: MOST_RANKS,
    isOptional: true,
    isShown: ({ format }) => takesRank(format),
  },
  {
    name: "address",
    label: "Push to (empty: nowhere)",
    className: "w-64",
    placeholder: "hub:org/name or s3://bucket/prefix",
    pattern: "hub:.+|s3://[^/]+.*",
    title: "hub:org/name or s3://bucket/prefix",
    isOptional: true,
  },
  {
    name: "secret",
    label: "Secret with its key",
    className: "w-40",
    placeholder: "HUB_TOKEN",
    isShown: ({ address }) => address !== "",
  },
];

function ExportForm({ adapter }: { adapter: Adapter }) {
  const { start } = useWork("export", adapter.id);
  return <DataForm fields={FIELDS} action="Export" mutation={start} onSubmit={(values) => start.mutate(exportRequest(values))} />;
}

function ExportLine({ one }: { one: Export }) {
  const { end } = useWork("export", one.adapter_id);
  const words = formatWords(one);
  const pushed = pushedTo(one);
  return (
    <WorkLine
      kind="export"
      words={words}
      work={one}
      result={exactness(one)}
      end={end}
      made={
        one.files.length > 0 && (
          <>
            <span className="text-muted">{bytes(one.files.reduce((sum, file) => sum + file.bytes, 0))}</span>
            <DownloadLink href={exportContentPath(one)} name={`the export ${words}`} />
          </>
        )
      }
    >
      {pushed && <p className="fact break-all">Pushed to {pushed}</p>}
    </WorkLine>
  );
}
