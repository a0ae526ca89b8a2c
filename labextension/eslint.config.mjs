import jupyter from '@jupyter/eslint-plugin';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

export default defineConfig([
  { ignores: ['lib', 'node_modules', 'hubmeter', 'src/spec', '**/*.spec.ts', '**/*.spec.tsx', '*.mjs', '*.ts'] },
  tseslint.configs.recommended,
  { plugins: { jupyter } },
  jupyter.configs.recommended,
  {
    files: ['src/**/*.ts', 'src/**/*.tsx'],
    languageOptions: { parserOptions: { project: 'tsconfig.json' } },
    rules: {
      // Two small modules that are on the screen at once: nothing to load later.
      'jupyter/prefer-lazy-imports': 'off',
      // gettext's own signature has it
      '@typescript-eslint/no-explicit-any': 'off',
      curly: 'error',
      eqeqeq: 'error'
    }
  }
]);
