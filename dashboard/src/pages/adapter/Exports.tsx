import { useState } from "react";

import { exportContentPath, useCreateExport, useExports, useRemoveExport } from "@/api/project/exports";
import { useMayWrite } from "@/api/project/session";
import type { Adapter, Export } from "@/api/types";
import { destinationOf, exactness, FORMATS, formatWords, PLAIN_LORA, pushedTo } from "@/lib/facts/exportFacts";
import { bytes } from "@/lib/text/format";
import { DownloadLink } from "@/parts/basics/DownloadLink";
import { Failure } from "@/parts/page/Notice";
import { Section } from "@/parts/page/Section";
import { PagedList } from "@/parts/tables/PagedList";
import { TaskLine } from "@/parts/tasks/TaskLine";

const MOST_RANKS = 256;

/** Other forms of the adapter, for runtimes that do not load PEFT's files. */
export function Exports({ adapter }: { adapter: Adapter }) {
  const exports = useExports(adapter.id);
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

function ExportForm({ adapter }: { adapter: Adapter }) {
  const create = useCreateExport(adapter.id);
  const [format, setFormat] = useState(PLAIN_LORA);
  const [quantization, setQuantization] = useState("q8_0");
  const [rank, setRank] = useState("");
  const [address, setAddress] = useState("");
  const [secret, setSecret] = useState("");
  const destination = destinationOf(address, secret);
  const start = () => {
    create.mutate({
      format: format.format,
      ...(format.quantizations && { quantization }),
      ...(format.takesRank && rank !== "" && { rank: Number(rank) }),
      ...(destination && { destination }),
    });
  };
  return (
    <form
      className="grid gap-3 border-t border-line p-4"
      onSubmit={(event) => {
        event.preventDefault();
        start();
      }}
    >
      <div className="flex flex-wrap items-end gap-3">
        <label className="grid gap-1">
          <span className="fact">Format</span>
          <select
            className="field"
            value={format.format}
            onChange={({ target }) => setFormat(FORMATS.find((one) => one.format === target.value) ?? PLAIN_LORA)}
          >
            {FORMATS.map((one) => (
              <option key={one.format} value={one.format}>
                {one.name}
              </option>
            ))}
          </select>
        </label>
        {format.quantizations && (
          <label className="grid gap-1">
            <span className="fact">Weights</span>
            <select className="field" value={quantization} onChange={({ target }) => setQuantization(target.value)}>
              {format.quantizations.map((one) => (
                <option key={one}>{one}</option>
              ))}
            </select>
          </label>
        )}
        {format.takesRank && (
          <label className="grid gap-1">
            <span className="fact">Rank (empty: as it is)</span>
            <input
              className="field w-40"
              type="number"
              min={1}
              max={MOST_RANKS}
              value={rank}
              onChange={({ target }) => setRank(target.value)}
            />
          </label>
        )}
        <label className="grid gap-1">
          <span className="fact">Push to (empty: nowhere)</span>
          <input
            className="field w-64"
            placeholder="hub:org/name or s3://bucket/prefix"
            pattern="hub:.+|s3://[^/]+.*"
            title="hub:org/name or s3://bucket/prefix"
            value={address}
            onChange={({ target }) => setAddress(target.value)}
          />
        </label>
        {address !== "" && (
          <label className="grid gap-1">
            <span className="fact">Secret with its key</span>
            <input
              className="field w-40"
              placeholder="HUB_TOKEN"
              required
              value={secret}
              onChange={({ target }) => setSecret(target.value)}
            />
          </label>
        )}
        <button type="submit" className="button button-primary" disabled={create.isPending}>
          Export
        </button>
      </div>
      {create.error && <Failure asked error={create.error} />}
    </form>
  );
}

function ExportLine({ one }: { one: Export }) {
  const remove = useRemoveExport();
  const words = formatWords(one);
  const pushed = pushedTo(one);
  return (
    <TaskLine
      kind="export"
      words={words}
      task={one}
      result={exactness(one)}
      removal={{ ...remove, onRemove: () => remove.mutate(one) }}
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
    </TaskLine>
  );
}
