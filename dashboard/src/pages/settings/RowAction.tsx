interface RowActionProps {
  verb: string;
  /** The name of the row's thing, which a screen reader reads after the verb. */
  of: string;
  onClick: () => void;
}

/** The button at the end of a row that removes its thing. */
export function RowAction({ verb, of, onClick }: RowActionProps) {
  return (
    <button type="button" className="link text-bad" aria-label={`${verb} ${of}`} onClick={onClick}>
      {verb}
    </button>
  );
}
