import { useQuery } from "@tanstack/react-query";

import { datasetsQuery } from "@/api/jobs/offers";
import { counted } from "@/lib/text/format";
import { type Field, Fields } from "@/components/forms/Fields";
import { Tick } from "@/components/forms/Tick";
import { Loaded } from "@/components/page/Loaded";
import type { FileObject } from "@/types/api";

import type { FieldsProps } from "./MethodFields";

const MOST_FILES = 8;
const MOST_ROWS = 512;
const MOST_TRIALS = 64;
const NUMBER = { className: "w-40", type: "number", isOptional: true } as const;

const FIELDS: readonly Field<"rows" | "trials" | "criterion">[] = [
  { name: "rows", label: "Rows of each file (empty: 64)", ...NUMBER, min: 1, max: MOST_ROWS },
  { name: "trials", label: "Trials (empty: 12)", ...NUMBER, min: 2, max: MOST_TRIALS },
  {
    name: "criterion",
    label: "What the search improves",
    options: [
      ["loss", "the loss"],
      ["token_accuracy", "the share of right tokens"],
      ["exact_match", "the share of right answers"],
    ],
  },
];

/** Whether the weights are searched, and on which files. */
export function SearchFields(props: FieldsProps) {
  const { draft, change } = props;
  return (
    <div className="grid gap-3">
      <Tick checked={draft.isSearched} onChange={(isSearched) => change({ isSearched })}>
        Search for better weights
      </Tick>
      {draft.isSearched && <Search {...props} />}
    </div>
  );
}

function Search({ draft, change }: FieldsProps) {
  const files = useQuery(datasetsQuery);
  return (
    <>
      <p className="text-muted">
        The search begins with the weights above, and keeps what is better in the mean over the files. Choose a file for
        each task, with rows that no adapter was trained on.
      </p>
      <fieldset className="grid gap-1">
        <legend className="fact mb-1">Files with chat rows</legend>
        <Loaded query={files}>{(all) => <FileBoxes files={all.filter(holdsChats)} draft={draft} change={change} />}</Loaded>
      </fieldset>
      <div className="flex flex-wrap items-end gap-3">
        <Fields fields={FIELDS} values={draft} onChange={(name, value) => change({ [name]: value })} />
      </div>
    </>
  );
}

/** Files that were uploaded before kinds were kept hold chats. */
function holdsChats({ kind }: FileObject): boolean {
  return (kind ?? "chat") === "chat";
}

function FileBoxes({ files, draft, change }: FieldsProps & { files: readonly FileObject[] }) {
  if (!files.length) return <p className="text-muted">No file with chat rows. Upload one under Files.</p>;
  return (
    <ul className="grid max-h-48 gap-1 overflow-y-auto">
      {files.map(({ id, filename, rows }) => {
        const isChosen = draft.files.includes(id);
        return (
          <li key={id}>
            <Tick
              checked={isChosen}
              disabled={!isChosen && draft.files.length >= MOST_FILES}
              onChange={(checked) => change({ files: checked ? [...draft.files, id] : draft.files.filter((one) => one !== id) })}
            >
              <span className="min-w-0 break-all">{filename}</span>
              {rows != null && <span className="fact">{counted(rows, "row")}</span>}
            </Tick>
          </li>
        );
      })}
    </ul>
  );
}
