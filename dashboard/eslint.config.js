import a11y from "eslint-plugin-jsx-a11y";
import hooks from "eslint-plugin-react-hooks";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist", "node_modules", "src/types/schema.gen.ts"] },
  ...tseslint.configs.strict,
  a11y.flatConfigs.recommended,
  hooks.configs.flat["recommended-latest"],
  {
    files: ["src/**/*.{ts,tsx}"],
    rules: {
      // The keyboard must reach every region that scrolls.
      "jsx-a11y/no-noninteractive-tabindex": ["error", { tags: [], roles: ["region", "group", "log"] }],
      "react-hooks/incompatible-library": "off", // it warns of TanStack Virtual, but we do not use the React compiler
      "max-lines": ["error", 400],
      "no-restricted-syntax": [
        "error",
        {
          selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']",
          message: "Names, rows and log lines are text, never HTML.",
        },
      ],
    },
  },
  {
    files: ["src/pages/guide/GuidePage.tsx"], // its HTML is that of our own pages, which come with the build
    rules: { "no-restricted-syntax": "off" },
  },
);
