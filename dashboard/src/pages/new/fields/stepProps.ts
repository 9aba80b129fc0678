import type { Draft, Offer } from "@/lib/newJob/draft";

export interface StepProps {
  draft: Draft;
  offer: Offer;
  change: (changed: Partial<Draft>) => void;
}
