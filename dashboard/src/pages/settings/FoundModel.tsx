import { useAddBaseModel } from "@/api/project/baseModels";
import { fitsInShort, obstacle, precisionsOf } from "@/lib/facts/baseModelFacts";
import { bytes } from "@/lib/text/format";
import { Prose } from "@/components/basics/Prose";
import { DataForm } from "@/components/forms/DataForm";
import type { Field } from "@/components/forms/Fields";
import { Notice } from "@/components/page/Notice";
import { type Column, wideRegion } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import type { BaseModelCheck, DeviceFit, HubModel } from "@/types/api";

const TONES = { ok: "text-good", warn: "text-warn", fail: "text-bad" };
const WORDS = { ok: "good", warn: "note", fail: "fails" };

/** What was found out about a model of the hub, and the form that adds it to the catalog. */
export function FoundModel({ found }: { found: BaseModelCheck }) {
  return (
    <div role="region" aria-label={`What was found of ${found.model.repository}`}>
      <Findings found={found} />
      <Add found={found} />
    </div>
  );
}

/** What was found out about a model: each check, and the devices on which its jobs fit. */
export function Findings({ found }: { found: BaseModelCheck }) {
  return (
    <>
      <p className="border-t border-line px-4 py-3">
        <strong className="break-all">{found.model.repository}</strong>{" "}
        <span className="fact">
          at <code className="font-mono break-all">{found.model.revision}</code>
        </span>
      </p>
      <ul>
        {found.checks.map(({ name, state, found: words, advice }) => (
          <li key={name} className="border-t border-line px-4 py-2 break-words">
            <span className={`font-medium ${TONES[state]}`}>{WORDS[state]}</span> {name}: <Prose text={words} />
            {advice && (
              <span className="fact block">
                <Prose text={`${advice}.`} />
              </span>
            )}
          </li>
        ))}
      </ul>
      <Fits fits={found.fits} />
    </>
  );
}

function Fits({ fits }: { fits: readonly DeviceFit[] }) {
  const columns: readonly Column<DeviceFit>[] = [
    {
      name: "Device",
      cell: ({ device, here }) => (
        <>
          {device}
          {here && <span className="fact block">a worker&apos;s</span>}
        </>
      ),
    },
    { name: "Memory", align: "right", shownFrom: "sm", cell: ({ memory_bytes }) => bytes(memory_bytes) },
    ...precisionsOf(fits).map(
      ([precision, name]): Column<DeviceFit> => ({ name, cell: ({ precisions }) => <Verdict of={precisions[precision]} /> }),
    ),
  ];
  return (
    <>
      <p className="border-t border-line px-4 py-3 text-muted">
        {fitsInShort(fits)} Computed for LoRA of rank 16 and rows of up to 2,048 tokens.
      </p>
      {fits.length > 0 && (
        <DataTable columns={columns} rows={fits} keyOf={({ device }) => device} region={wideRegion("Where a job fits")} />
      )}
    </>
  );
}

function Verdict({ of }: { of: string | undefined }) {
  const tone = !of?.startsWith("fits") ? "text-bad" : of === "fits" ? "text-good" : "text-warn";
  return <span className={tone}>{of}</span>;
}

type Name = "id" | "license" | "tokens" | "quantization";

const fieldsOf = ({ id, license, max_length }: BaseModelCheck["model"]): readonly Field<Name>[] => [
  {
    name: "id",
    label: "Id, which clients send as model",
    className: "w-60 font-mono",
    pattern: "[a-zA-Z0-9][a-zA-Z0-9._\\-]{0,99}",
    spellCheck: false,
    initial: id,
  },
  { name: "license", label: "Licence", className: "w-40", maxLength: 100, initial: license },
  {
    name: "tokens",
    label: "Most tokens of a row",
    className: "w-32",
    type: "number",
    min: 8,
    max: 2 ** 24,
    initial: String(max_length),
  },
  {
    name: "quantization",
    label: "Weights are held",
    isOptional: true,
    options: [
      ["", "as published, or as a job asks"],
      ["int8", "always in 8 bits (int8)"],
      ["nf4", "always in 4 bits (nf4)"],
    ],
  },
];

function Add({ found }: { found: BaseModelCheck }) {
  const { model } = found;
  const add = useAddBaseModel();
  const refusal = obstacle(found);
  if (refusal) return <p className="border-t border-line px-4 py-3 text-bad">{refusal}</p>;
  if (add.data) return <Added found={add.data} />;
  const { repository, revision } = model;
  return (
    <DataForm
      fields={fieldsOf(model)}
      action={add.isPending ? "Adding…" : "Add to the catalog"}
      mutation={add}
      onSubmit={({ id, license, tokens, quantization }) =>
        add.mutate({
          ...{ repository, revision, id, license, max_length: Number(tokens) },
          quantization: (quantization || null) as HubModel["quantization"],
        })
      }
    />
  );
}

function Added({ found }: { found: BaseModelCheck }) {
  return (
    <div className="border-t border-line p-4">
      <Notice>
        <p>
          <strong className="break-all">{found.model.id}</strong> is on offer now. It stands in{" "}
          <code className="font-mono break-all">{found.catalog_file}</code> on the API&apos;s machine.
        </p>
        <p className="text-muted">
          Workers and servers that read the same file need nothing. Copy the file to machines that have one of their
          own: jobs that start there fail otherwise. The weights are fetched when a job first needs them.
        </p>
      </Notice>
    </div>
  );
}
