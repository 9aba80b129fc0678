import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { baseModelCheckQuery, useBaseModels, useCheckBaseModel, useRemoveBaseModel } from "@/api/project/baseModels";
import { obstacle } from "@/lib/facts/baseModelFacts";
import { integer } from "@/lib/text/format";
import { Confirm } from "@/components/dialogs/Confirm";
import { Modal } from "@/components/dialogs/Modal";
import { DataForm } from "@/components/forms/DataForm";
import type { Field } from "@/components/forms/Fields";
import { Loaded } from "@/components/page/Loaded";
import { Reading } from "@/components/page/Reading";
import { Section } from "@/components/page/Section";
import { actionsColumn, type Column } from "@/components/tables/columns";
import { DataTable } from "@/components/tables/DataTable";
import { PagedList } from "@/components/tables/PagedList";
import type { BaseModel, BaseModelCheck } from "@/types/api";

import { Findings, FoundModel } from "./FoundModel";
import { RowAction } from "./RowAction";

/** The catalog of base models, and what adds a model of the hub to it. Only the operator sees it. */
export function BaseModels() {
  return (
    <>
      <AddFromHub />
      <Offered />
    </>
  );
}

const FIELDS: readonly Field<"repository" | "revision">[] = [
  {
    name: "repository",
    label: "Name at the hub",
    className: "w-72 max-w-full font-mono",
    maxLength: 200,
    pattern: "[\\w.\\-]+(\\/[\\w.\\-]+)?",
    spellCheck: false,
    placeholder: "Qwen/Qwen3-8B",
  },
  {
    name: "revision",
    label: "Branch, tag or commit",
    className: "w-48 font-mono",
    maxLength: 100,
    spellCheck: false,
    initial: "main",
  },
];

function AddFromHub() {
  const check = useCheckBaseModel();
  return (
    <Section title="Add from Hub">
      <p className="px-4 pb-3 text-muted">
        The API asks the Hugging Face hub for the licence, the files and the configuration of a model, and fetches no
        weights. Gated models need <code className="font-mono">HF_TOKEN</code> for the API and for the workers.
      </p>
      <DataForm
        fields={FIELDS}
        action={check.isPending ? "Looking…" : "Look"}
        mutation={check}
        onSubmit={({ repository, revision }) => check.mutate({ repository: repository.trim(), revision: revision.trim() })}
      />
      {check.data && <FoundModel key={check.submittedAt} found={check.data} />}
    </Section>
  );
}

function Offered() {
  const models = useBaseModels();
  const [removing, setRemoving] = useState<string | null>(null);
  const [checking, setChecking] = useState<BaseModel | null>(null);
  const action = actionsColumn<BaseModel>((model) => (
    <span className="inline-flex flex-wrap justify-end gap-x-3">
      {model.source === "hub" && (
        <button type="button" className="link" aria-label={`Check ${model.id} again`} onClick={() => setChecking(model)}>
          Check again
        </button>
      )}
      <RowAction verb="Remove" of={model.id} onClick={() => setRemoving(model.id)} />
    </span>
  ));
  return (
    <Section title="Base models on offer">
      <PagedList list={models} empty="No base model.">
        {(items) => <DataTable columns={[...COLUMNS, action]} rows={items} keyOf={({ id }) => id} />}
      </PagedList>
      {checking && <CheckAgain model={checking} onClose={() => setChecking(null)} />}
      {removing && <Remove id={removing} onClose={() => setRemoving(null)} />}
    </Section>
  );
}

const COLUMNS: readonly Column<BaseModel>[] = [
  { name: "Model", className: "break-all", cell: ({ id }) => id },
  {
    name: "From",
    shownFrom: "md",
    className: "break-all",
    cell: ({ repository, revision, source }) => (
      <>
        {repository}
        <span className="fact block">
          {source}, <code className="font-mono">{revision.slice(0, 12)}</code>
        </span>
      </>
    ),
  },
  { name: "Licence", shownFrom: "sm", className: "break-words", cell: ({ license }) => license },
  { name: "Tokens of a row", shownFrom: "md", align: "right", cell: ({ max_length }) => integer(max_length) },
  { name: "Held in", shownFrom: "lg", cell: ({ quantization }) => quantization ?? "as published" },
];

/** Asks the hub again about a model that the catalog has, as the catalog offers it. */
function CheckAgain({ model, onClose }: { model: BaseModel; onClose: () => void }) {
  const query = useQuery(baseModelCheckQuery(model));
  return (
    <Modal title={`What the hub says of ${model.id}`} onClose={onClose}>
      {query.isFetching ? <Reading /> : <Loaded query={query}>{(found) => <Outcome found={found} />}</Loaded>}
    </Modal>
  );
}

function Outcome({ found }: { found: BaseModelCheck }) {
  return (
    <>
      <p className={`pb-3 font-medium ${found.trainable ? "text-good" : "text-bad"}`}>
        {obstacle(found) ?? "Jobs can still train this model."}
      </p>
      <Findings found={found} />
    </>
  );
}

function Remove({ id, onClose }: { id: string; onClose: () => void }) {
  const remove = useRemoveBaseModel();
  return (
    <Confirm
      title="Offer this model no more?"
      action="Remove model"
      mutation={remove}
      onConfirm={() => remove.mutate(id, { onSuccess: onClose })}
      onClose={onClose}
    >
      <p>
        <strong className="break-all">{id}</strong> is removed from the catalog of all projects. Jobs that still wait for
        it will fail, and models that were trained on it cannot be asked until it is back. Nothing else is deleted.
      </p>
    </Confirm>
  );
}
