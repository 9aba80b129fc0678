import { get } from "@/api/routes";
import { type LeftOut, Series } from "@/lib/charts/series";

const MOST_POINTS = 1500; // in one answer: a chart has no room for more
const PAGE = 5000; // steps; adding so many to a series does not block the page for long

interface Query {
  after_step: number;
  until_step?: number;
  points?: number;
  limit?: number;
}

/** Reads the steps of a job, or of one of its candidates, into a series. */
export class StepReader implements LeftOut {
  readonly series = new Series();
  private readonly id: string;
  private readonly candidate: number | null;
  private readonly onChange: () => void;

  /** `onChange` is called when a part of the steps, or all of them, has been read. */
  constructor(id: string, candidate: number | null, onChange: () => void) {
    this.id = id;
    this.candidate = candidate;
    this.onChange = onChange;
  }

  /** Reads the steps after the last known step. If there are many, it reads those that a chart needs. */
  async readNew(signal?: AbortSignal): Promise<void> {
    const { data, thinned } = await this.fetch({ after_step: this.series.lastStep, points: MOST_POINTS }, signal);
    this.series.add(data);
    if (thinned) this.series.leftOut = this;
  }

  async readPart(from: number, to: number): Promise<void> {
    const { data } = await this.fetch({ after_step: from - 1, until_step: to, points: MOST_POINTS });
    this.series.add(data);
    this.onChange();
  }

  /** Reads all steps. They go into another series first, so that each page is added at the end. */
  async readAll(): Promise<void> {
    const whole = new Series();
    for (let more = true; more; ) {
      const { data, has_more } = await this.fetch({ after_step: whole.lastStep, limit: PAGE });
      whole.add(data);
      more = has_more;
    }
    this.series.become(whole);
    this.onChange();
  }

  private fetch(asked: Query, signal?: AbortSignal) {
    const query = { ...asked, candidate: this.candidate };
    return get("/v1/fine_tuning/jobs/{fine_tuning_job_id}/metrics", [this.id], { query, signal });
  }
}
