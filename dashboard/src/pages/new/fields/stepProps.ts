import type { Draft, Offer } from "@/lib/newJob/draft";

/** The properties of each step of the form and of each part of a step. */
export interface StepProps {
  draft: Draft;
  offer: Offer;
  change: (changed: Partial<Draft>) => void;
}
