import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { useMayWrite } from "@/api/project/session";
import { isUnderWay, newestWorkQuery, useWork, type WorkState } from "@/api/work/work";
import { answerBars, languageWords, lengthBars, lengthWords, repeatBars } from "@/lib/datasets/checkFacts";
import { counted } from "@/lib/text/format";
import { Ago } from "@/components/basics/Ago";
import { Prose } from "@/components/basics/Prose";
import { BaseChooser } from "@/components/files/BaseChooser";
import { Loaded } from "@/components/page/Loaded";
import { Failure, Notice } from "@/components/page/Notice";
import { Section } from "@/components/page/Section";
import { WorkProgress } from "@/components/work/WorkProgress";
import type { CheckReport, FileCheck, FileObject } from "@/types/api";

import { Bars } from "./Bars";
import { Findings } from "./Findings";
import { Histogram } from "./Histogram";

/** The newest check of the file's rows, and the buttons that check, mend and convert it. */
export function Check({ file }: { file: FileObject }) {
  const newest = useQuery(newestWorkQuery("check", file.id));
  const mayWrite = useMayWrite();
  return (
    <Section title="Check of the content">
      {mayWrite && <CheckForm file={file} isBusy={newest.data != null && isUnderWay(newest.data)} />}
      {file.purpose === "user_data" && <Conversion file={file} />}
      <Loaded query={newest}>
        {(check) =>
          check ? (
            <Checked check={check} />
          ) : (
            <p className="px-4 pb-4 text-muted">
              Not checked yet. A check finds repeated, contradictory and cut rows, secrets, and more.
            </p>
          )
        }
      </Loaded>
    </Section>
  );
}

function CheckForm({ file, isBusy }: { file: FileObject; isBusy: boolean }) {
  const { start: create } = useWork("check", file.id);
  const [model, setModel] = useState("");
  const start = (mend: boolean) => create.mutate({ ...(model && { model }), ...(mend && { mend }) });
  const isOff = create.isPending || isBusy;
  return (
    <form
      className="grid gap-3 px-4 pb-4"
      onSubmit={(event) => {
        event.preventDefault();
        start(false);
      }}
    >
      <div className="flex flex-wrap items-end gap-3">
        <BaseChooser label="Count tokens as" none="none, estimate them" value={model} onChange={setModel} />
        <button type="submit" className="button" disabled={isOff}>
          Check
        </button>
        <button type="button" className="button" disabled={isOff} onClick={() => start(true)}>
          Check and make a mended copy
        </button>
      </div>
      {create.error && <Failure asked error={create.error} />}
    </form>
  );
}

function Conversion({ file }: { file: FileObject }) {
  const { data: conversion } = useQuery(newestWorkQuery("conversion", file.id));
  const { start: convert } = useWork("conversion", file.id);
  const mayWrite = useMayWrite();
  const isBusy = convert.isPending || (conversion != null && isUnderWay(conversion));
  return (
    <div className="grid gap-2 border-t border-line px-4 py-3">
      <div className="flex flex-wrap items-center gap-3">
        <p className="min-w-0 flex-1 text-muted">A job trains on datasets. A file of another format is converted first.</p>
        {mayWrite && (
          <button type="button" className="button" disabled={isBusy} onClick={() => convert.mutate({})}>
            Convert to a dataset
          </button>
        )}
      </div>
      {conversion && <UnderWay work={conversion} what="conversion" />}
      {conversion?.converted_file && <MadeFile id={conversion.converted_file} words="The dataset" />}
      {convert.error && <Failure asked error={convert.error} />}
    </div>
  );
}

function MadeFile({ id, words }: { id: string; words: string }) {
  return (
    <p role="status">
      {words}:{" "}
      <Link to="/files/$fileId" params={{ fileId: id }} className="link break-all">
        {id}
      </Link>
    </p>
  );
}

/** Says how far work is, or why it has failed. Nothing is said of work that has succeeded. */
function UnderWay({ work, what }: { work: WorkState; what: string }) {
  if (work.error?.message) {
    return (
      <Notice tone="bad">
        <Prose text={work.error.message} />
      </Notice>
    );
  }
  if (work.status === "cancelled") return <p className="text-muted">The {what} was cancelled.</p>;
  if (!isUnderWay(work)) return null;
  return (
    <div role="status" className="grid gap-1">
      <WorkProgress work={work} name={`the ${what}`} />
    </div>
  );
}

function Checked({ check }: { check: FileCheck }) {
  return (
    <>
      <div className="grid gap-2 px-4 pb-3">
        <UnderWay work={check} what="check" />
        {check.report && <Summary check={check} report={check.report} />}
      </div>
      {check.report && <Pictures report={check.report} />}
      {check.report && <Findings report={check.report} />}
    </>
  );
}

function Summary({ check, report }: { check: FileCheck; report: CheckReport }) {
  const bad = report.bad_rows ? `, of which no job takes ${report.bad_rows}` : "";
  const { model, max_length } = check.request;
  return (
    <>
      <p>
        {counted(report.rows, "row")}
        {bad}. {lengthWords(report)}
        {languageWords(report)}{" "}
        <span className="text-muted">
          Checked <Ago unix={check.finished_at ?? check.created_at} />
          {model && ` against ${model}`}
          {max_length && `, at most ${max_length} tokens a row`}.
        </span>
      </p>
      {check.mended_file && (
        <MadeFile id={check.mended_file} words={`The copy without ${counted(report.mendable_rows, "row")} that harm`} />
      )}
      {report.not_mended && <p>No mended copy: {report.not_mended}.</p>}
    </>
  );
}

function Pictures({ report }: { report: CheckReport }) {
  return (
    <div className="grid gap-x-6 gap-y-4 border-t border-line px-4 py-3 md:grid-cols-2">
      <Histogram title="Lengths of the rows" bars={lengthBars(report)} />
      <Bars title="Repeated rows" bars={repeatBars(report)} />
      <Bars title="Answers" bars={answerBars(report)} />
    </div>
  );
}
