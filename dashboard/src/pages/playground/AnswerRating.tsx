import { type SubmitEvent, useState } from "react";

import { type Rating, useRating } from "@/api/chat/ratings";
import { Failure } from "@/components/page/Notice";

const CHOICES = [
  { rating: "up", label: "Good" },
  { rating: "down", label: "Bad" },
] as const;

/** Says of a stored answer whether it is good, and what it should have been. Datasets can be made of that. */
export function AnswerRating({ id }: { id: string }) {
  const saving = useRating(id);
  const [rating, setRating] = useState<Rating["rating"]>(null);
  const [correction, setCorrection] = useState("");
  const save = (changed: Rating) =>
    saving.mutate({ rating, ...(correction && { corrected_answer: correction }), ...changed });
  const rate = (chosen: Rating["rating"]) => {
    setRating(chosen);
    save({ rating: chosen });
  };
  const correct = (event: SubmitEvent) => {
    event.preventDefault();
    save({});
  };
  return (
    <div className="grid gap-2">
      <div role="group" aria-label="Rating" className="flex flex-wrap items-center gap-1">
        {CHOICES.map((choice) => (
          <button
            key={choice.rating}
            type="button"
            aria-pressed={rating === choice.rating}
            className="button px-2.5 aria-pressed:border-accent aria-pressed:bg-tint aria-pressed:text-accent"
            disabled={saving.isPending}
            onClick={() => rate(rating === choice.rating ? null : choice.rating)}
          >
            {choice.label}
          </button>
        ))}
        <span role="status" className="fact">
          {saving.isSuccess && (saving.variables.corrected_answer ? "correction saved" : "rating saved")}
        </span>
      </div>
      {rating === "down" && (
        <form onSubmit={correct} className="flex items-end gap-2">
          <textarea
            aria-label="What it should have answered"
            className="field min-w-0 flex-1"
            placeholder="What it should have answered…"
            required
            value={correction}
            onChange={({ target: { value } }) => setCorrection(value)}
          />
          <button type="submit" className="button" disabled={saving.isPending}>
            Save
          </button>
        </form>
      )}
      {saving.error != null && <Failure asked error={saving.error} />}
    </div>
  );
}
